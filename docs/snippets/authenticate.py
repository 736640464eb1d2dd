"""Three ways to authenticate a client before the connection is accepted."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Query, WebSocketException

from anyws.fastapi import Guarded

TOKENS = {"secret-of-ann": "ann"}  # use a database, or signed tokens


def user_of(token: str | None) -> str:
    """Return the user that a token stands for, or reject the client with 403."""
    for known, user in TOKENS.items():
        if hmac.compare_digest(known.encode(), (token or "").encode()):
            return user
    raise WebSocketException(1008, "unknown token")


def by_token(ws: Guarded) -> str:
    """Programs send `Authorization: Bearer TOKEN`, pages a subprotocol."""
    return user_of(ws.bearer_token())


def by_cookie(session: Annotated[str | None, Cookie()] = None) -> str:
    """Browsers send the cookies of the site. Check the origin, too."""
    return user_of(session)


def by_query(token: Annotated[str | None, Query()] = None) -> str:
    """A page can set the query. Access logs show it, so use short-lived tokens."""
    return user_of(token)


app = FastAPI()


@app.websocket("/token")
async def token(ws: Guarded, user: Annotated[str, Depends(by_token)]) -> None:
    """Greet a user."""
    await ws.accept()
    await ws.send_text(f"hello, {user}")


@app.websocket("/cookie")
async def cookie(ws: Guarded, user: Annotated[str, Depends(by_cookie)]) -> None:
    """Greet a user."""
    await ws.accept()
    await ws.send_text(f"hello, {user}")


@app.websocket("/query")
async def query(ws: Guarded, user: Annotated[str, Depends(by_query)]) -> None:
    """Greet a user."""
    await ws.accept()
    await ws.send_text(f"hello, {user}")
