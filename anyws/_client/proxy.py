"""The proxy on the way to a server, if there is one: given, or of the environment."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from websockets.exceptions import InvalidProxy
from websockets.proxy import Proxy, get_proxy, parse_proxy
from websockets.uri import WebSocketURI

from .url import (
    NOT_PARSED,
    fault_in,
    is_loopback,
    with_password,
    with_zone,
    without_zone,
)


def proxy_for(url: WebSocketURI, proxy: str | bool | None) -> Proxy | None:
    """Return the proxy on the way to a URL, if there is one.

    Args:
        url: The server's URL.
        proxy: The proxy's URL; or `True` for the proxy that the environment names
            (`wss_proxy`, `https_proxy`, `all_proxy`, `no_proxy` and so on), which is
            never used for a loopback address.

    Raises:
        ValueError: The URL is not that of a proxy, or is of a scheme that is not known.
            The message does not show it, as it may hold a password.
    """
    url = replace(url, host=without_zone(url.host))
    where = ""
    if proxy is True:
        proxy = None if is_loopback(url.host) else _proxy_of_the_environment(url)
        where = _variable_of(proxy)
    if not proxy:
        return None
    try:
        parts = urlsplit(proxy)
        parsed = parse_proxy(with_password(parts))
        basic = parsed.scheme.startswith("http")
        reason = fault_in(parts.port, parsed.username if basic else None)
    except InvalidProxy as exc:
        # curl takes host:port, so the environment often has it.
        reason = exc.msg if "://" in proxy else "it does not begin as http:// does"
    except ValueError:
        reason = NOT_PARSED
    else:
        if not reason:
            return replace(parsed, host=with_zone(parsed.host))
    # Not chained: the message of the cause holds the URL, and with it the password.
    raise ValueError(f"the proxy's URL{where} is invalid: {reason}")


def _proxy_of_the_environment(url: WebSocketURI) -> str | None:
    """Return the URL of the environment's proxy; the core does not know `all_proxy`."""
    found = get_proxy(url)
    if found is None and not proxy_bypass(f"{url.host}:{url.port}"):
        found = getproxies().get("all")
    return found


def _variable_of(proxy: str | None) -> str:
    """Return words that name the environment variable with this proxy, or no words."""
    for name, value in os.environ.items():
        if value == proxy and name.lower().endswith("_proxy"):
            return f" in the environment's {name}"
    return ""
