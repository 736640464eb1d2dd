"""Runs the tests of Starlette and FastAPI with our class in the place of theirs.

A pytest plugin, loaded by `nox -s conformance` in the source tree of either project.
Nothing of those projects is kept here: the session fetches their source distributions.
"""

from __future__ import annotations

import sys
from functools import wraps
from pkgutil import resolve_name
from typing import Any

import pytest
import starlette.websockets

# The whole list of wanted differences: test -> reason.
DEVIATIONS = {
    "tests/test_websockets.py::test_duplicate_close": (
        "it expects an error from a second close(); ours is silent"
    ),
}

made = 0  # instances of the class under test
used: type[starlette.websockets.WebSocket]


def substitute(cls: type[starlette.websockets.WebSocket]) -> None:
    """Put the class wherever Starlette's is looked up, and count its instances."""
    theirs: object = starlette.websockets.WebSocket
    init = cls.__init__

    @wraps(init)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        global made
        made += 1
        init(self, *args, **kwargs)

    setattr(cls, "__init__", counting)  # noqa: B010  # mypy allows it only this way
    # The module itself, for what is imported later, and all that hold the name already.
    # The package of the class keeps theirs: it is the base.
    package = cls.__module__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if package != "starlette" and name.partition(".")[0] == package:
            continue
        for attribute, value in list(vars(module).items()):
            if value is theirs:
                setattr(module, attribute, cls)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the class be named, so that the harness itself can be tried."""
    parser.addoption(
        "--websocket-class",
        default="anyws:WebSocket",
        help="class to put in the place of Starlette's (module:name)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Substitute before any conftest or test module imports a framework."""
    global used
    used = resolve_name(early_config.known_args_namespace.websocket_class)
    substitute(used)


def pytest_report_header() -> list[str]:
    """Say what runs."""
    lines = [f"WebSocket class: {used.__module__}.{used.__qualname__}"]
    return lines + [f"not run: {test}: {why}" for test, why in DEVIATIONS.items()]


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Deselect the wanted differences."""
    out = [item for item in items if item.nodeid.partition("[")[0] in DEVIATIONS]
    if out:
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which the class was never used: it would prove nothing."""
    if not made and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how often the class was used."""
    terminalreporter.write_line(
        f"{made} instances of {used.__module__}.{used.__qualname__} were made",
        red=not made,
        bold=not made,
    )
