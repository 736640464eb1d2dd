"""Gives uvicorn's own tests our protocol class in the place of theirs.

A plugin for `pytest -p`, beside uvicorn's tests and nothing of this project's: see the
session `uvicorn` in the noxfile.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from anyws.uvicorn import WebSocketProtocol

PLACE: Final = "ws_protocol_cls"  # the fixture that says which class is tested

_INSIDE: Final = "looks at attributes of the class, or drives it without a transport"
_LAW: Final = "the law has it otherwise"
_REASON: Final = "our disconnect has a reason, which ASGI allows, and may have a code"
_SKIPPED: Final = "uvicorn skips it for its own class, which holds a response back too"

# Tests of the class, and not of what it does.
LEFT_OUT: Final = {
    "test_close_gives_up_when_the_peer_never_replies": _INSIDE,
    "test_close_resumes_reads_paused_on_an_unconsumed_message": _INSIDE,
    "test_close_waits_for_the_peer_close_frame": _INSIDE,
    "test_connection_lost_cancels_the_pending_close_timer": _INSIDE,
    "test_connection_lost_unblocks_paused_send": _INSIDE,
    "test_data_frame_and_peer_close_frame_in_one_read": _INSIDE,
    "test_data_frame_while_closing_does_not_pause_reads": _INSIDE,
    "test_frame_after_close_handshake_is_ignored": _INSIDE,
    "test_ping_while_closing": _INSIDE,
    "test_send_after_peer_close_raises_client_disconnected": _INSIDE,
    "test_send_respects_write_backpressure": _INSIDE,
    "test_server_keepalive_disabled": _INSIDE,
    "test_server_keepalive_ping_pong": _INSIDE,
    "test_shutdown_while_the_close_reply_is_pending": _INSIDE,
    "test_server_multiple_websocket_http_response_start_events": _SKIPPED,
    "test_server_reject_connection_with_invalid_msg": _SKIPPED,
    "test_server_reject_connection_with_missing_body": _SKIPPED,
}

# What does not hold, and why.
DIFFERENCES: Final = {
    "test_asgi_return_value": f"{_LAW}: a return closes with 1000",
    "test_close_transport_on_asgi_return": f"{_LAW}: a return closes with 1000",
    "test_connection_lost_before_handshake_complete": _REASON,
    "test_duplicate_handshake": f"{_LAW}: an exception closes with 1011",
    "test_invalid_upgrade": "the words of a refusal are not those of a library",
    "test_missing_handshake": f"{_LAW}: a return before the accept is a 403",
    "test_send_close_on_server_shutdown": _REASON,
    "test_server_keepalive_ping_timeout": "the peer has close_timeout for its answer",
    "test_server_reject_connection": _REASON,
    "test_server_reject_connection_with_response": _REASON,
    "test_server_reject_connection_with_multibody_response": _REASON,
}


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Any:
    """Answer for the fixture."""
    if fixturedef.argname != PLACE:
        return None
    fixturedef.cached_result = (WebSocketProtocol, None, None)
    return WebSocketProtocol


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run each test once, and leave out what does not hold."""
    for item in list(items):
        name = item.name.partition("[")[0]
        params = getattr(getattr(item, "callspec", None), "params", {})
        inside = name in LEFT_OUT
        if inside or PLACE not in params or "Sans" not in str(params[PLACE]):
            items.remove(item)
        elif name in DIFFERENCES:
            item.add_marker(pytest.mark.xfail(reason=DIFFERENCES[name], strict=True))
