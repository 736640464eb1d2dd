"""Which origins a rule allows, and what a rule may be."""

from __future__ import annotations

from typing import Any

import pytest

from anyws._values.allowed_origins import AllowedOrigins, shown_origin


def scope_of(
    *origins: str, host: str | None = "example.com", scheme: str = "ws"
) -> dict[str, Any]:
    """Return the scope of a request with these origins."""
    headers = [(b"Origin", origin.encode("latin-1")) for origin in origins]
    if host is not None:
        headers.append((b"host", host.encode()))
    return {"headers": headers, "scheme": scheme}


EXACT, WILD, SAME = "https://example.com", "https://*.example.com", "same-origin"


@pytest.mark.parametrize(
    ("rule", "origin", "allowed"),
    [
        (EXACT, "https://example.com", True),
        (EXACT, "HTTPS://Example.COM", True),
        (EXACT, "https://example.com:443", True),
        (EXACT + ":443", "https://example.com", True),
        (EXACT, "https://example.com:8443", False),
        (EXACT, "http://example.com", False),
        (EXACT, "https://example.com.evil.test", False),
        (EXACT, "https://evil-example.com", False),
        (EXACT, "https://example.com/", False),
        (EXACT, "https://user@example.com", False),
        (EXACT, "null", False),
        (EXACT, "", False),
        (WILD, "https://a.example.com", True),
        (WILD, "https://a.b.example.com", True),
        (WILD, "https://example.com", False),
        (WILD, "https://badexample.com", False),
        (WILD, "https://a.example.com.evil.test", False),
        (WILD, "https://*.example.com", False),
        (WILD, "http://a.example.com", False),
        (WILD, "https://a.example.com:444", False),
        ("http://localhost:8000", "http://localhost:8000", True),
        ("http://[::1]:8000", "http://[::1]:8000", True),
        ("null", "null", True),
        ("chrome-extension://abc", "chrome-extension://abc", True),
        ([EXACT, "http://b.test"], "http://b.test", True),
        ([], "https://example.com", False),
    ],
)
def test_a_page_is_known_by_its_origin(rule: Any, origin: str, allowed: bool) -> None:
    """Scheme, host and port, and nothing that only looks like them."""
    assert AllowedOrigins(rule).allow(scope_of(origin)) == allowed


@pytest.mark.parametrize(
    ("host", "scheme", "origin", "allowed"),
    [
        ("example.com", "ws", "http://example.com", True),
        ("example.com", "ws", "https://example.com", True),
        ("example.com", "wss", "https://example.com", True),
        ("example.com", "wss", "http://example.com", False),
        ("example.com:8000", "ws", "http://example.com:8000", True),
        ("example.com:8000", "ws", "http://example.com", False),
        ("example.com", "ws", "http://example.com:8000", False),
        ("EXAMPLE.com:443", "wss", "https://example.com", True),
        ("[::1]:8000", "ws", "http://[::1]:8000", True),
        ("example.com", "ws", "http://a.example.com", False),
        ("example.com", "ws", "null", False),
        ("example.com", "ws", "ftp://example.com", False),
        ("", "ws", "http://example.com", False),
        (None, "ws", "http://example.com", False),
    ],
)
def test_the_same_origin_is_the_one_of_the_host(
    host: str | None, scheme: str, origin: str, allowed: bool
) -> None:
    """Behind a proxy that ends TLS, the scheme is not known."""
    scope = scope_of(origin, host=host, scheme=scheme)
    assert AllowedOrigins(SAME).allow(scope) == allowed


def test_what_is_no_browser_may_connect() -> None:
    """It sends no origin; two of them are none that is known."""
    rule = AllowedOrigins([EXACT, SAME])
    assert rule.allow(scope_of())
    assert rule.allow({})
    assert not rule.allow(scope_of(EXACT, EXACT))


@pytest.mark.parametrize(
    ("wrong", "mend"),
    [
        ("*", "allowed_origins=None"),
        ("https://bücher.example", "in ASCII, as 'https://xn--"),
        ("example.com", EXACT),
        (EXACT + "/", "with no path"),
        ("https://*", EXACT),
        ("https://a.*.test", EXACT),
        ("", EXACT),
    ],
)
def test_what_is_no_origin_is_refused(wrong: str, mend: str) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match=f"is not an origin: write .*{mend}"):
        AllowedOrigins([wrong])
    not_any: Any
    for not_any in (7, [7]):
        with pytest.raises(TypeError):
            AllowedOrigins(not_any)


def test_rules_are_equal_that_allow_the_same() -> None:
    """FastAPI's cache knows dependencies by that."""
    assert AllowedOrigins([SAME, EXACT]) == AllowedOrigins((EXACT + ":443", SAME))
    assert hash(AllowedOrigins(EXACT)) == hash(AllowedOrigins([EXACT]))
    assert AllowedOrigins(EXACT) != AllowedOrigins(SAME)
    assert AllowedOrigins([]) != AllowedOrigins("null")
    assert AllowedOrigins([]) != []


def test_an_origin_in_the_log_is_one_line_of_text() -> None:
    """However long, and whatever is in it."""
    shown = shown_origin(scope_of("a\r\n\x1b[31m\x85" + "x" * 1000))
    assert shown.isprintable()
    assert shown.isascii()
    assert len(shown) < 300
    assert r"\r\n\x1b" in shown
