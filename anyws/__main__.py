"""A client for the command line: `python -m anyws ws://...`; see `--help`."""

from __future__ import annotations

import sys

from ._cli.conversation import main

if __name__ == "__main__":
    sys.exit(main())
