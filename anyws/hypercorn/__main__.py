"""Hypercorn's command line, with the engine in each worker.

    python -m anyws.hypercorn -k trio module:app

It takes Hypercorn's own options. Workers are spawned and evaluate what follows the
colon of the application's path: that is where the engine gets into each of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypercorn import __main__ as command
from hypercorn.config import Config

from ._engine import check_version


def main() -> int:
    """Run the command line; return the exit status."""
    check_version()
    run: Callable[[Config], int] = vars(command)["run"]

    def run_with_engine(config: Config) -> int:
        config.application_path = path_with_engine(config.application_path)
        return run(config)

    sys.argv[0] = "python -m anyws.hypercorn"
    vars(command)["run"] = run_with_engine
    return command.main()


def path_with_engine(path: str) -> str:
    """Return the application path that loads another one, and the engine before it."""
    mode, colon, rest = path.partition(":")
    if mode not in {"asgi", "wsgi"}:
        mode, colon, rest = "", "", path
    module, _, attribute = rest.partition(":")
    parts = [repr(part) for part in (module, attribute) if part]
    # Hypercorn counts the colons of a path, those of a Windows drive among them.
    arguments = ", ".join(parts).replace(":", r"\x3a")
    return f"{mode}{colon}anyws.hypercorn:load({arguments})"


if __name__ == "__main__":
    sys.exit(main())
