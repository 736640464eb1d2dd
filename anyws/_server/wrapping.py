"""Whether something that can wait stands between an object and its session's `send`.

A middleware wraps `send` in a callable of its own, and what that does is not known: so
messages pass it one after another (`_session/passage.py`). Two wrappers are known.
Starlette and FastAPI put the first round every endpoint, and a WebSocket of ours that
is made of theirs has the second:

    wrap_app_handling_exceptions  starlette/_exception_handler.py: `sender`, a closure,
                                  looks at the type, for HTTP alone, and calls `send`
    WebSocket.send                checks the type against the state, and calls `send`

Neither waits, changes a message or drops one, so they count as nothing. Each is known
by its code, not by its name: a subclass that overrides `send` is a wrapper like any
other, and so is the closure once Starlette lets it do more than in 1.7 to 1.10.
"""

from __future__ import annotations

from types import CodeType, FunctionType, MethodType
from typing import Any, Final

from starlette.middleware import exceptions
from starlette.websockets import WebSocket

from .._session.session import Session

_LAYERS: Final = 64  # how many wrappers are looked through

# The parts of Starlette's closure: with no other variable, name or constant it
# can only look at the type of an event, and pass the event on.
_VARIABLES: Final = {"response_started", "send"}
_CONSTANTS: Final = {None, True, "type", "http.response.start"}


def is_wrapped(send: Any, session: Session) -> bool:
    """Whether a `send` is another than the session's own, as far as is known."""
    for _ in range(_LAYERS):
        if getattr(send, "__self__", None) in (session, session.sender):
            return False
        send = _inner(send)
    return True


def is_receive_wrapped(receive: Any, session: Session) -> bool:
    """Whether a `receive` is another than the session's own.

    Nothing of Starlette's or FastAPI's wraps one but their WebSocket (`origin.py`).
    """
    return getattr(receive, "__self__", None) not in (session, session.receiver)


def _inner(send: Any) -> Any:
    """Return what a wrapper calls that is known; `None` if it is not known."""
    if isinstance(send, MethodType) and send.__func__ is WebSocket.send:
        return getattr(send.__self__, "_send", None)
    if isinstance(send, FunctionType) and send.__code__ is _SENDER:
        cells = dict(zip(_SENDER.co_freevars, send.__closure__ or (), strict=True))
        return cells["send"].cell_contents
    return None


def sender_of(wrap: Any) -> CodeType | None:
    """Return the code of the closure `sender` within Starlette's wrapper.

    Args:
        wrap: `wrap_app_handling_exceptions`, if Starlette has it.

    Returns:
        `None` if it is not there, or may do more than is known.
    """
    code: CodeType | None = getattr(wrap, "__code__", None)
    for name in ("wrapped_app", "sender"):
        constants = () if code is None else code.co_consts
        codes = [constant for constant in constants if isinstance(constant, CodeType)]
        code = next((inner for inner in codes if inner.co_name == name), None)
    if (
        code is None
        or code.co_names
        or set(code.co_freevars) != _VARIABLES
        or not set(code.co_consts) <= _CONSTANTS
    ):
        return None
    return code


_SENDER: Final = sender_of(getattr(exceptions, "wrap_app_handling_exceptions", None))
