"""The routes that serve the AsyncAPI document of an application, and its page."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import fastapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from ._asyncapi import asyncapi, server_of
from ._page import page_of

# The page has a style, and nothing else.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def add_asyncapi(
    app: fastapi.FastAPI,
    *,
    asyncapi_url: str = "/asyncapi.json",
    docs_url: str | None = "/asyncapi",
) -> None:
    """Add routes to an application that serve its AsyncAPI document, and a page of it.

    `asyncapi` makes the document at the first request, and it is kept, as FastAPI keeps
    its OpenAPI document. If `FastAPI(servers=...)` names no server, the document names
    the server of the request. The page has no script, and loads nothing from other
    servers.

    Args:
        app: The application. The routes may be added before those that they document.
        asyncapi_url: The path of the document.
        docs_url: The path of the page; `None` for no page.
    """

    @cache
    def kept() -> dict[str, Any]:
        return asyncapi(app)

    def made(request: Request) -> dict[str, Any]:
        document = kept()
        if "servers" in document:
            return document
        url, root = request.url, request.scope.get("root_path", "")
        return {
            **document,
            "servers": {"this": server_of(url.scheme, url.netloc, root)},
        }

    async def document(request: Request) -> JSONResponse:
        return JSONResponse(made(request))

    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        text = page_of(made(request), f"{root}{asyncapi_url}")
        return HTMLResponse(text, headers={"content-security-policy": _POLICY})

    app.add_route(asyncapi_url, document, include_in_schema=False)
    if docs_url is not None:
        app.add_route(docs_url, page, include_in_schema=False)
