"""The backends, and what is demanded of every async test.

A test may not hang, and may leave no task behind. An unclosed memory stream needs no
check here: it warns when it is collected, and warnings are errors.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import wraps
from importlib.util import find_spec
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

LIMIT = 20.0  # (seconds) generous, as two cores may run servers and browsers beside it
VIRTUAL_LIMIT = 1e9  # (seconds) under a MockClock; a hang jumps there at once

if find_spec("hypothesis") is not None:  # the examples do without
    from hypothesis import settings

    # By default an example may take 200 ms; where a core is busy, it takes more.
    settings.register_profile("anyws", deadline=None)
    settings.load_profile("anyws")


def pytest_configure() -> None:
    """Refuse to test the working tree where nox has installed the wheel."""
    spec = find_spec("anyws")
    imported = Path(spec.origin if spec and spec.origin else "").resolve()
    tree = Path(__file__).resolve().parents[1] / "anyws"
    if os.environ.get("ANYWS_INSTALLED") and imported.parent == tree:
        raise pytest.UsageError(f"not the wheel, but the working tree: {imported}")


def backend(name: str, needs: str | None = None, **options: Any) -> Any:
    """Return the parameter for one backend, skipped where its package is missing."""
    missing = needs is not None and find_spec(needs) is None
    marks = [pytest.mark.skip(reason=f"{needs} is not installed")] if missing else []
    return pytest.param((name.partition("+")[0], options), id=name, marks=marks)


# Session scope: Hypothesis's health check refuses a function-scoped one.
@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Have SIGINT interrupt this process; a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(
    scope="session",
    params=[
        backend("asyncio", use_uvloop=False),
        backend("asyncio+uvloop", needs="uvloop", use_uvloop=True),
        backend("trio", needs="trio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run every async test on each backend."""
    return request.param


def guarded(
    test: Callable[..., Awaitable[None]], limit: float
) -> Callable[..., Awaitable[None]]:
    """Return the test with a time limit, failing when it leaves tasks behind."""

    @wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        # Tasks of fixtures are here already, and are none of the test's business.
        before = set(anyio.get_running_tasks())
        with anyio.fail_after(limit):
            await test(*args, **kwargs)
        turns = 10  # what was cancelled may need some to end
        while left := set(anyio.get_running_tasks()) - before:
            if not turns:
                names = sorted(str(task.name) for task in left)
                pytest.fail(f"tasks left behind: {names}")
            turns -= 1
            await anyio.lowlevel.checkpoint()

    return run


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Guard each async test. As a wrapper it comes before AnyIO's plugin runs it."""
    param = pyfuncitem.funcargs.get("anyio_backend")
    options = param[1] if isinstance(param, tuple) else {}
    marker = pyfuncitem.get_closest_marker("fail_after")
    limit = marker.args[0] if marker else VIRTUAL_LIMIT if "clock" in options else LIMIT
    original = pyfuncitem.obj
    if hypothesis := getattr(original, "hypothesis", None):
        # Each example is a run of its own. The plugin leaves its own wrapper in the
        # place of the inner test, with the function it wraps in this attribute.
        inner = hypothesis.inner_test
        inner = getattr(inner, "_anyio_original_func", inner)
        if iscoroutinefunction(inner):
            hypothesis.inner_test = guarded(inner, limit)
            try:
                return (yield)
            finally:
                hypothesis.inner_test = inner
    elif iscoroutinefunction(original):
        pyfuncitem.obj = guarded(original, limit)
        try:
            return (yield)
        finally:
            pyfuncitem.obj = original
    return (yield)
