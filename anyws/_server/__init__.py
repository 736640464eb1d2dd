"""The ASGI side: WebSocket, endpoint, middleware, drain."""
