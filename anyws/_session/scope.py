"""Where a session stands in the ASGI scope of its connection (law 15).

It stands in two places under one name: at the top of the scope, which a middleware
keeps that rebuilds `extensions`, and in `extensions`, which a middleware keeps that
copies the keys of ASGI alone. A copied scope is of the same connection, so it holds the
same session (`Session.__deepcopy__`).
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from .session import Session

KEY: Final = "anyws.session"


def session_in(scope: Mapping[str, Any]) -> Session | None:
    """Return the session that the events of a scope's connection pass through."""
    session: Session | None = scope.get(KEY)
    if session is None:
        session = (scope.get("extensions") or {}).get(KEY)
    return session


def put_session(scope: MutableMapping[str, Any], session: Session) -> None:
    """Put a session where `session_in` finds it.

    The scope is changed in place: outer middleware reads there what routers have found.
    Its `extensions` are replaced, as they may be shared by all connections of a server.
    """
    scope[KEY] = session
    scope["extensions"] = {**(scope.get("extensions") or {}), KEY: session}


def session_of(receive: object) -> Session | None:
    """Return the session that hands out a `receive`, if a block hosts it."""
    owner = getattr(receive, "__self__", None)
    return owner if isinstance(owner, Session) else None
