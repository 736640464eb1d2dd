"""The peer of a server in memory; `anyws/testing/__init__.py` has the theory of it."""
