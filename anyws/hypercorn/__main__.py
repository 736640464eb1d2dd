"""Hypercorn's command line, with the engine in each worker.

    python -m anyws.hypercorn -k trio module:app

It takes Hypercorn's own options. Hypercorn spawns its workers, and each worker
evaluates the part of the application's path behind the colon: the command line puts a
call of `load` there, which installs the engine in the worker.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from hypercorn import __main__ as command
from hypercorn.config import Config, Sockets

from ._engine import check_installed, check_version
from ._serve import UNBOUND, named


def main() -> int:
    """Run the command line; return the exit status."""
    check_version()
    run: Callable[[Config], int] = vars(command)["run"]

    def run_with_engine(config: Config) -> int:
        try:
            check_installed(config.worker_class, option="-k")
        except ModuleNotFoundError as exc:
            sys.exit(str(exc))
        config.application_path = path_with_engine(config.application_path)
        statuses = remember_statuses()
        return run(config) or next(filter(None, statuses), 0)

    sys.argv[0] = "python -m anyws.hypercorn"
    vars(command)["run"] = run_with_engine
    create_sockets = Config.create_sockets

    def create_or_exit(config: Config) -> Sockets:
        try:
            return create_sockets(config)
        except UNBOUND as exc:
            error = named(exc, config, option="--bind")
            sys.exit(str(getattr(error, "strerror", None) or error))

    # Of the class: workers that are spawned get their configuration pickled.
    Config.create_sockets = create_or_exit  # type: ignore[assignment, method-assign]
    return command.main()


def remember_statuses() -> list[int]:
    """Return a list to which the exit status of each worker is added as it ends.

    Hypercorn's master process ends when a worker fails, but then exits with status 0.
    """
    master = vars(import_module("hypercorn.run"))
    join: Callable[[list[Any]], int] = master["_join_exited"]
    statuses: list[int] = []

    def join_and_remember(processes: list[Any]) -> int:
        statuses.append(join(processes))
        return statuses[-1]

    master["_join_exited"] = join_and_remember
    return statuses


def path_with_engine(path: str) -> str:
    """Return the application path that loads another one, and the engine before it."""
    mode, colon, rest = path.partition(":")
    if mode not in {"asgi", "wsgi"}:
        mode, colon, rest = "", "", path
    module, _, attribute = rest.partition(":")
    parts = [repr(part) for part in (module, attribute) if part]
    # Hypercorn splits the path at its colons, and a Windows drive has one too.
    arguments = ", ".join(parts).replace(":", r"\x3a")
    return f"{mode}{colon}anyws.hypercorn:load({arguments})"


if __name__ == "__main__":
    sys.exit(main())
