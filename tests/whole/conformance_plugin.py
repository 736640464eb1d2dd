"""Runs the tests of Starlette and FastAPI with our class in the place of theirs.

With `--guarded-router`, the router of `anyws.fastapi` takes the place of FastAPI's: it
finds our class in the annotations of handlers, and injects it guarded.

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

# The same for the guarded router alone.
GONE = "it expects an exception when the client has left; to us that is no error"
ITSELF = "it expects the handler's object to be FastAPI's; a guarded one is another"
CANCELLED = (
    "Starlette's TestClient cancels an application that waits for the closing "
    "handshake, which telemetry tells of; a server does not"
)
DEVIATIONS_OF_ROUTER = {
    f"tests/{file}.py::{name}": why
    for file, name, why in (
        ("test_telemetry/test_data", "test_request_objects_are_not_exported", ITSELF),
        (
            "test_telemetry/test_websockets",
            "test_concurrent_connections_keep_local_data_separate",
            ITSELF,
        ),
        ("test_telemetry/test_websockets", "test_client_disconnect", GONE),
        (
            "test_telemetry/test_websockets",
            "test_connection_context_route_and_data",
            CANCELLED,
        ),
        ("test_telemetry/test_websockets", "test_unexpected_exception", CANCELLED),
        ("test_telemetry/test_websockets", "test_validation_data", CANCELLED),
        (
            "test_telemetry/test_websockets",
            "test_handled_websocket_exception",
            CANCELLED,
        ),
        ("test_tutorial/test_websockets/test_tutorial001", "test_websocket", GONE),
        *(
            ("test_tutorial/test_websockets/test_tutorial002", name, GONE)
            for name in (
                "test_websocket_with_cookie",
                "test_websocket_with_header",
                "test_websocket_with_header_and_query",
            )
        ),
    )
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
    replace(theirs, cls)


def replace(theirs: object, ours: type) -> None:
    """Put a class of ours wherever a framework's is looked up.

    In the module itself, for what is imported later, and in all that hold the name
    already. The package of the class keeps theirs: it is the base.
    """
    package = ours.__module__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if package != "starlette" and name.partition(".")[0] == package:
            continue
        for attribute, value in list(vars(module).items()):
            if value is theirs:
                setattr(module, attribute, ours)


def substitute_router() -> None:
    """Put our router wherever FastAPI's is looked up, also by applications."""
    import fastapi.applications

    import anyws.fastapi

    replace(fastapi.routing.APIRouter, anyws.fastapi.APIRouter)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the class be named, so that the harness itself can be tried."""
    parser.addoption(
        "--websocket-class",
        default="anyws:WebSocket",
        help="class to put in the place of Starlette's (module:name)",
    )
    parser.addoption(
        "--guarded-router",
        action="store_true",
        help="put the router of anyws.fastapi in the place of FastAPI's, too",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Substitute before any conftest or test module imports a framework."""
    global used
    used = resolve_name(early_config.known_args_namespace.websocket_class)
    substitute(used)
    if early_config.known_args_namespace.guarded_router:
        substitute_router()
        DEVIATIONS.update(DEVIATIONS_OF_ROUTER)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what runs."""
    lines = [f"WebSocket class: {used.__module__}.{used.__qualname__}"]
    if config.option.guarded_router:
        lines.append("router: anyws.fastapi.APIRouter")
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
