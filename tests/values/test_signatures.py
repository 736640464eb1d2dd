"""A handler may be annotated with what is not there when it is looked at."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

import anyws
from anyws._serve.application import application_of
from anyws._server.misannotated import misannotated
from anyws._values.signatures import signature_of
from anyws.testing import connect

# From PEP 649 on, a name need not be there when the function is defined.
DEFERRED = pytest.mark.skipif(sys.version_info < (3, 14), reason="evaluated at once")


@pytest.fixture(params=["'Absent'", pytest.param("Absent", marks=DEFERRED)])
def handler(request: pytest.FixtureRequest) -> Any:
    """Define a handler whose module imports a name for type checkers only."""
    defined: dict[str, Any] = {"__name__": __name__}
    code = f"""
async def handler(ws: {request.param}) -> {request.param}:
    await ws.accept()
    await ws.send_text("hello")
"""
    exec(compile(code, "handler.py", "exec", dont_inherit=True), defined)
    return defined["handler"]


async def test_it_is_served(handler: Any) -> None:
    """Each way to make an application of a handler takes it."""
    for app in (anyws.endpoint(handler), application_of(handler)):
        async with connect(app) as ws:
            assert await ws.receive_text() == "hello"


def test_it_is_looked_through(handler: Any) -> None:
    """The search for handlers that are annotated wrongly passes it."""
    assert list(signature_of(handler).parameters) == ["ws"]
    routes = [WebSocketRoute("/", handler)]
    assert misannotated(Starlette(routes=routes)) == []
