"""The URLs of a client: what is taken from them, and how they are shown."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from anyws import HandshakeRejected
from anyws._client.url import (
    is_loopback,
    parse_url,
    redirect_target,
    shown,
    without_zone,
)


@pytest.mark.parametrize(
    ("given", "host", "told"),
    [
        ("[fe80::1%25eth0]", "fe80::1%eth0", "[fe80::1%25eth0]"),
        ("[FE80::1%25Eth0]", "fe80::1%Eth0", "[fe80::1%25Eth0]"),
        ("[fe80::1%eth0]", "fe80::1%eth0", "[fe80::1%25eth0]"),
        ("[fe80::1%253]", "fe80::1%3", "[fe80::1%253]"),
        ("[fe80::1%3]", "fe80::1%3", "[fe80::1%253]"),
        ("[fe80::1%25]", "fe80::1%25", "[fe80::1%2525]"),
        ("[fe80::1]", "fe80::1", "[fe80::1]"),
        ("a%25b", "a%25b", "a%25b"),
    ],
)
def test_the_zone_of_an_address(given: str, host: str, told: str) -> None:
    """It is decoded for the system (RFC 6874), and encoded in what is shown."""
    url = parse_url(f"ws://user:password@{given}:81/a")
    assert (url.host, url.port) == (host, 81)
    assert shown(url) == f"ws://{told}:81/a"
    assert parse_url(shown(url)).host == host


def test_a_zone_is_for_this_machine() -> None:
    """It is no part of the address, nor a name's."""
    assert without_zone("fe80::1%eth0") == "fe80::1"
    assert without_zone("fe80::1") == "fe80::1"
    assert without_zone("a%b") == "a%b"
    assert is_loopback("::1%1")


@pytest.mark.parametrize("location", ["/b", "//[fe80::1%25eth0]:81/b", "b?c"])
def test_a_zone_is_kept_by_a_redirect(location: str) -> None:
    """Where the redirect does not leave the server."""
    url = parse_url("ws://user:password@[fe80::1%25eth0]:81/a")
    rejection = HandshakeRejected(302, Headers({"Location": location}))
    target = redirect_target(url, rejection)
    assert target is not None
    assert (target.host, target.port, target.path) == ("fe80::1%eth0", 81, "/b")
    assert target.username == "user"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:8000", "ws://localhost:8000"),
        ("localhost", "ws://localhost"),
        ("127.0.0.1:8000/feed", "ws://127.0.0.1:8000/feed"),
        ("[::1]:8000", "ws://[::1]:8000"),
        ("//example.org/feed", "ws://example.org/feed"),
        ("http://example.org/feed", "ws://example.org/feed"),
        ("HTTPS://example.org", "wss://example.org"),
        ("http:example.org", "ws://example.org"),
        ("ws:localhost:8000", "ws://localhost:8000"),
        ("wss:/example.org", "wss://example.org"),
        ("ws:///example.org", "ws://example.org"),
        ("ws:8000", "ws://ws:8000"),
    ],
)
def test_the_url_that_was_meant(given: str, meant: str) -> None:
    """A host and a port, or an HTTP URL, is told with what it lacks."""
    with pytest.raises(ValueError, match="not that of a WebSocket: ") as caught:
        parse_url(given)
    assert str(caught.value).endswith(f" in {given!r}; did you mean {meant}?")
    parse_url(meant)


@pytest.mark.parametrize(
    "given",
    ["", "/feed", "ws:", "ws://", "http://", "localhost:0", "localhost:x", "ftp://a/b"],
)
def test_a_url_that_means_nothing(given: str) -> None:
    """It is shown, and nothing is guessed."""
    with pytest.raises(ValueError, match="isn't") as caught:
        parse_url(given)
    assert str(caught.value).endswith(f" in {given!r}")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("http://a/b?token=secret", "in 'http://a/b?…'; did you mean ws://a/b?"),
        ("localhost/b#secret", "in 'localhost/b'; did you mean ws://localhost/b?"),
        ("http://user:secret@a/", "scheme isn't ws or wss"),
        ("http://user:se/secret@a/", "scheme isn't ws or wss"),
        ("http://user:se?secret@a/", "scheme isn't ws or wss"),
        ("http://user:se#secret@a/", "scheme isn't ws or wss"),
        ("user:secret@a", "scheme isn't ws or wss"),
    ],
)
def test_a_secret_is_not_shown(given: str, told: str) -> None:
    """Neither a query nor anything before an @, wherever it seems to be."""
    with pytest.raises(ValueError, match="isn't") as caught:
        parse_url(given)
    assert str(caught.value).endswith(told)
    assert "secret" not in str(caught.value)
