"""WebSockets over HTTP/2."""
