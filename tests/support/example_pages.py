"""The examples that have a page and need no start of their own, in one application.

It is served in the folder of the examples, which is on the path there.
"""

from __future__ import annotations

import importlib

from starlette.applications import Starlette
from starlette.routing import Mount

NAMES = ("answers", "calls", "dashboard", "upload")

app = Starlette(
    routes=[Mount(f"/{name}", importlib.import_module(name).app) for name in NAMES]
)
