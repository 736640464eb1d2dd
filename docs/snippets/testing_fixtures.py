"""For a conftest.py: tests on asyncio alone, and a real server for a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from echo import app

from anyws.testing import HypercornServer


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests on asyncio alone, as the application uses asyncio itself."""
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[HypercornServer]:
    """Start the server once for the tests of a module."""
    with HypercornServer(app, worker="trio") as server:
        yield server
