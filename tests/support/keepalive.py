"""Settings of Hypercorn, ours in it or not, that expect answers to pings soon."""

from __future__ import annotations

websocket_ping_interval = 0.3  # seconds
websocket_options = {"ping_timeout": 0.3}
