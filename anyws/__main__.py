"""The command line: `python -m anyws ws://...` and `python -m anyws serve ...`."""

from __future__ import annotations

import sys

from ._cli import conversation, serving

if __name__ == "__main__":
    sys.exit(serving.main() if sys.argv[1:2] == ["serve"] else conversation.main())
