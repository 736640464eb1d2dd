"""The server in memory; `anyws/testing/__init__.py` has the theory of it."""
