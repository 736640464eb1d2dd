"""An ASGI server in memory, with the manners of real ones."""
