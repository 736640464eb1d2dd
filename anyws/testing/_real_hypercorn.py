"""A real Hypercorn, in a thread of the test's process."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from importlib import import_module
from threading import Event as ThreadSignal
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, get_args

import anyio
from anyio import Event as Signal
from anyio import RunFinishedError
from anyio.from_thread import run_sync
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from .._values.outcomes import sole_cause_of

if TYPE_CHECKING:
    from hypercorn.config import Config

Worker: TypeAlias = Literal["asyncio", "uvloop", "trio"]
_WORKERS: Final = get_args(Worker)

# Seconds for the startup; for connections that are open at the end, which are cut then;
# and for the thread after that.
_STARTUP: Final = 30.0
_GRACE: Final = 1.0
_END: Final = 10.0

# Turns of the scheduler after which the startup has not failed: on trio, Hypercorn
# calls the shutdown trigger some turns before its failed startup ends it.
_TURNS: Final = 10


class HypercornServer:
    """A real Hypercorn in a thread: creating it starts it, and `close()` ends it.

    It is also a context manager, which closes it. A fixture of any scope is

        @pytest.fixture(scope="module")
        def server():
            with anyws.testing.HypercornServer(app, worker="trio") as server:
                yield server

    Args:
        app: The application.
        worker: The event loop: `"asyncio"`, `"uvloop"` or `"trio"`.
        engine: Whether it uses the engine of `anyws.hypercorn`.
        config: Hypercorn's settings; `bind` is ignored.

    Raises:
        ValueError: There is no such worker.
        TypeError: `engine` is not a bool.
        TimeoutError: The server has not started within 30 s.
        Exception: The exception that the application's startup raises.

    Attributes:
        url: `ws://` and the address, without a path.
        http_url: `http://` and the address, without a path.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        *,
        worker: Worker = "asyncio",
        engine: bool = True,
        config: Config | None = None,
    ) -> None:
        if worker not in _WORKERS:
            known = ", ".join(map(repr, _WORKERS))
            raise ValueError(f"worker must be one of {known}, not {worker!r}")
        if not isinstance(engine, bool):
            raise TypeError(f"engine must be a bool, not {engine!r}")
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = listener.getsockname()
        self.url: str = f"ws://{host}:{port}"
        self.http_url: str = f"http://{host}:{port}"
        self._app = app
        self._engine = engine
        self._backend = "trio" if worker == "trio" else "asyncio"
        self._config = self._configured(config, listener.detach())
        self._started = ThreadSignal()
        self._error: BaseException | None = None
        self._token: EventLoopToken | None = None
        self._stop: Signal
        self._scope: anyio.CancelScope
        options = {"use_uvloop": worker == "uvloop"} if worker != "trio" else {}
        self._thread = Thread(
            target=self._run, args=(options,), name=f"hypercorn-{port}", daemon=True
        )
        self._thread.start()
        started = self._started.wait(_STARTUP)
        self._raise_error()
        if not started:
            raise TimeoutError(f"Hypercorn has not started within {_STARTUP} s")

    def _configured(self, config: Config | None, descriptor: int) -> Config:
        from hypercorn.config import Config

        if config is None:
            config = Config()
            config.graceful_timeout = _GRACE / 2
        else:
            config = copy(config)
        config.bind = [f"fd://{descriptor}"]
        return config

    def _run(self, options: dict[str, Any]) -> None:
        try:
            anyio.run(self._serve, backend=self._backend, backend_options=options)
        except BaseException as exc:
            self._error = exc
        finally:
            self._token = None
            self._started.set()

    async def _serve(self) -> None:
        self._stop = Signal()
        if self._engine:
            from ..hypercorn import serve
        else:
            serve = import_module(f"hypercorn.{self._backend}").serve
        with anyio.CancelScope() as self._scope:
            await serve(self._app, self._config, shutdown_trigger=self._triggered)

    async def _triggered(self) -> None:
        """Hypercorn awaits this once it has started, and ends when it returns."""
        for _ in range(_TURNS):
            await checkpoint()
        self._token = current_token()
        self._started.set()
        await self._stop.wait()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise sole_cause_of(error)

    def __enter__(self) -> Self:
        """Return the server, to be closed on leaving the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the server."""
        self.close()

    def close(self) -> None:
        """End the server as SIGTERM does; cut connections that are open a second later.

        Raises:
            TimeoutError: The thread has not ended within 10 s after that.
            Exception: The exception that has ended the server before.
        """
        self._tell(lambda: self._stop.set())
        self._thread.join(_GRACE)
        cut = self._thread.is_alive()
        if cut:
            self._tell(lambda: self._scope.cancel())
            self._thread.join(_END)
        if self._thread.is_alive():
            raise TimeoutError(f"Hypercorn at {self.url} does not end")
        if cut:
            self._error = None  # stock Hypercorn raises when connections are cut
        self._raise_error()

    def _tell(self, function: Callable[[], object]) -> None:
        """Call a function in the server's event loop, if that still runs."""
        token = self._token
        if token is None:
            return

        def call() -> None:
            with suppress(RunFinishedError):
                run_sync(function, token=token)

        # trio refuses the call in a thread that runs trio, as an async test's does.
        thread = Thread(target=call)
        thread.start()
        thread.join()
