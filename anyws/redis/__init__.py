"""Redis as the backend that connects the hubs of several processes and machines.

    hub = anyws.Hub(backend=anyws.redis.RedisBackend("redis://localhost"))

The inside of the package
-------------------------

    the relay of a hub (`_hub/relay`)
        |  publish          |  want             |  deliveries, replay
    RedisBackend (_backend.py)
        |                   |                   |
        |                Reception (_reception.py)
        |                   |                   |
    scripts (_wire.py)   Subscriptions       Follower, with `durable`
        |                (_subscriptions.py) (_follower.py): where the hub stands
        |                   |                   |
    Link (_link.py)      Link ------------------+
    a connection to      the one that is subscribed
    publish and replay

coredis talks to Redis, on trio and on asyncio. Its connections are used unchanged. Its
pool and its pub/sub class are not used, because they retry by themselves: a command
that is sent twice would be a duplicate, and a subscription that is silently renewed
would hide a loss. Here, a connection that fails ends the call that uses it, the hub's
relay calls again, and a gap is reported where messages may be missing.

What holds:

* Every exception that leaves this package is a `HubError`. A connection runs in a task
  whose errors end that connection alone.
* One script publishes a batch, in order: up to a message that fails, and none after it.
  With `durable`, the numbers of the messages show which of them are repeated.
* With `durable`, the place of the hub in a topic moves in the step in which a message
  is yielded, and the hub has it in its log in the same step. So `replay` knows which
  messages will be delivered anyway, and returns the others.
* A topic is compared with its stream when its subscription begins, and again and again
  when it is silent, by subscribing once more: Redis' answer stands in line with the
  messages, so that no lock is needed.

    for a change of                                see
    keys, channels, the form of messages, scripts  _wire.py
    URLs, TLS, deadlines of commands, refusals     _link.py
    how sentinels are asked for the primary        _sentinels.py
    what is a duplicate, what a gap                _follower.py
    which commands subscribe                       _subscriptions.py
    how often silent topics are looked at          _reception.py
    arguments, publishing, replaying               _backend.py
"""

from __future__ import annotations

from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from re import match as _match

if _find_spec("coredis") is None:
    raise ModuleNotFoundError(
        "anyws.redis needs coredis: pip install 'anyws-websockets[redis]'",
        name="coredis",
    )

if _match(r"[0-5]\.|6\.[0-8]\b|([7-9]|\d\d)", _version("coredis")):
    raise RuntimeError(
        f"anyws.redis needs coredis 6.9 or a later 6, and not {_version('coredis')}: "
        "pip install 'anyws-websockets[redis]'"
    )

from ._backend import RedisBackend

__all__ = ["RedisBackend"]
