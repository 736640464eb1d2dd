"""The data in Redis: the names of keys, the form of messages, and the scripts.

A topic has a channel, `<prefix>:<topic>`. A durable backend has three keys beside it.
All begin with `<prefix>:{<topic>}:`, so that a cluster has them in one place:

    log               a stream; an entry has `m`, the message, and `p`, the id before it
    state             a hash: `epoch`, one life of the stream, and `last`, its last id
    from:<publisher>  the number of the last message that this publisher has published

A message is one letter for its kind, the token and a space, then the key, if it has
one, after its length and a space, then the payload. The kinds are `t` (text) and `b`
(binary); `T` and `B` are the same with a key.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .._hub.backend import Delivery, Publication

# The id before the first entry of a stream.
NOTHING: Final = (0, 0)

StreamId = tuple[int, int]


class Kept(NamedTuple):
    """A message as a durable backend announces it.

    Attributes:
        epoch: One life of the stream.
        before: The id of the message before it.
        id: Its own id.
        message: The message, encoded.
    """

    epoch: str
    before: StreamId
    id: StreamId
    message: bytes


def encoded(publication: Publication) -> bytes:
    """Return the form of a message in Redis."""
    message, key = publication.message, publication.key
    is_text = isinstance(message, str)
    payload = message.encode() if isinstance(message, str) else message
    token = publication.token.encode()
    if key is None:
        return b"%c%b %b" % (b"t" if is_text else b"b", token, payload)
    name = key.encode()
    kind = b"T" if is_text else b"B"
    return b"%c%b %d %b%b" % (kind, token, len(name), name, payload)


def decoded(
    topic: str,
    data: bytes,
    epoch: str | None = None,
    message_id: StreamId | None = None,
    before: StreamId | None = None,
) -> Delivery:
    """Return a message that `encoded` has made.

    Args:
        topic: The topic.
        data: The message, encoded.
        epoch, message_id, before: Its place in the stream of the topic, if it has one,
            and the id of the message before it.
    Raises:
        ValueError: It is not such a message.
    """
    kind = data[:1]
    if kind not in (b"t", b"b", b"T", b"B"):
        raise ValueError(f"no message of a hub: {data[:40]!r}")
    token, _, rest = data[1:].partition(b" ")
    key = None
    if kind in (b"T", b"B"):
        length, _, rest = rest.partition(b" ")
        key, rest = rest[: int(length)].decode(), rest[int(length) :]
    return Delivery(
        topic,
        rest.decode() if kind in (b"t", b"T") else rest,
        key,
        token.decode(),
        epoch,
        None if message_id is None else text_of(message_id),
        None if before is None else text_of(before),
    )


def announced(data: bytes) -> Kept:
    """Return what `PUBLISH_DURABLE` announces.

    Raises:
        ValueError: It is something else.
    """
    epoch, before, message_id, message = data.split(b" ", 3)
    return Kept(epoch.decode(), id_of(before), id_of(message_id), message)


def id_of(text: bytes | str) -> StreamId:
    """Return a stream id as numbers."""
    high, _, low = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(high), int(low or 0)


def checked_id(text: str) -> StreamId:
    """Return the id of a position, which a peer may have made up: then `NOTHING`."""
    numbers = [int(part) for part in text.split("-")]
    if len(numbers) != 2 or max(numbers) >= 2**64:
        return NOTHING
    return numbers[0], numbers[1]


def text_of(message_id: StreamId) -> str:
    """Return a stream id as text."""
    return f"{message_id[0]}-{message_id[1]}"


# ARGV: channel and message, for each message.
PUBLISH: Final = b"""
for i = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
"""

# KEYS: log, state and from, for each topic and publisher. ARGV: what the epoch of a new
# stream is, how many messages and for how many seconds a stream is kept, for how many
# seconds numbers of publishers are; then, for each message, which keys are its own
# (from 0), its channel, its number and the message.
#
# A message whose number was seen is dropped: it is repeated after an answer was lost. A
# script that fails leaves what comes behind the failing message unpublished, so that
# the same call may be made again.
PUBLISH_DURABLE: Final = b"""
for i = 5, #ARGV, 4 do
    local k = ARGV[i] * 3
    local log, state, from = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
    local number = tonumber(ARGV[i + 2])
    local seen = redis.call('GET', from)
    if not seen or tonumber(seen) < number then
        local was = redis.call('HMGET', state, 'epoch', 'last')
        local epoch, before = was[1] or ARGV[1], was[2] or '0-0'
        local id = redis.call('XADD', log, 'MAXLEN', '~', ARGV[2], '*',
            'p', before, 'm', ARGV[i + 3])
        redis.call('HSET', state, 'epoch', epoch, 'last', id)
        redis.call('SET', from, ARGV[i + 2], 'EX', ARGV[4])
        redis.call('EXPIRE', log, ARGV[3])
        redis.call('EXPIRE', state, ARGV[3])
        redis.call('PUBLISH', ARGV[i + 1],
            epoch .. ' ' .. before .. ' ' .. id .. ' ' .. ARGV[i + 3])
    end
end
"""

# KEYS: log and state, for each topic. ARGV: for how many seconds a stream is kept, how
# many messages of each topic are wanted at most, then for each topic the id behind
# which they are wanted, or nothing. Returns for each topic epoch, last id, and entries.
#
# A topic that a hub follows keeps its state: only with a loss of data it is gone.
FETCH: Final = b"""
local answer = {}
for i = 1, #KEYS, 2 do
    local log, state, after = KEYS[i], KEYS[i + 1], ARGV[2 + (i + 1) / 2]
    local was = redis.call('HMGET', state, 'epoch', 'last')
    local entries = {}
    if was[1] then
        redis.call('EXPIRE', state, ARGV[1])
        if after ~= '' and after ~= was[2] then
            entries = redis.call('XRANGE', log, '(' .. after, '+', 'COUNT', ARGV[2])
        end
    end
    answer[#answer + 1] = {was[1] or '', was[2] or '0-0', entries}
end
return answer
"""

# KEYS: log and state. ARGV: an id, or '-' for the beginning, how many messages are
# wanted at most, and the epoch of the id. Returns epoch, last id, and the newest
# entries, newest first: those behind the id, if the stream has its epoch.
REPLAY: Final = b"""
local was = redis.call('HMGET', KEYS[2], 'epoch', 'last')
local low = '-'
if was[1] == ARGV[3] then
    low = '(' .. ARGV[1]
end
return {was[1] or '', was[2] or '0-0',
    redis.call('XREVRANGE', KEYS[1], '+', low, 'COUNT', ARGV[2])}
"""


class Names:
    """The names of keys and channels.

    Args:
        prefix: What all of them begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._skipped = len(prefix.encode()) + 1

    def channel(self, topic: str) -> str:
        """Return the channel of a topic."""
        return f"{self._prefix}:{topic}"

    def topic(self, channel: bytes) -> str:
        """Return the topic of a channel."""
        return channel[self._skipped :].decode()

    def pattern(self, pattern: str) -> str:
        """Return Redis' pattern for the channels of a pattern; it matches more."""
        return _escaped(self._prefix) + ":" + _escaped(pattern)

    def keys(self, topic: str) -> tuple[str, str]:
        """Return the keys of the stream of a topic, and of its state."""
        start = f"{self._prefix}:{{{topic}}}:"
        return f"{start}log", f"{start}state"

    def publisher(self, topic: str, publisher: str) -> str:
        """Return the key of what a publisher has published in a topic."""
        return f"{self._prefix}:{{{topic}}}:from:{publisher}"


def _escaped(pattern: str) -> str:
    """Return a pattern in which no character but `*` means more than itself."""
    return "".join(f"\\{c}" if c in "?[]\\^" else c for c in pattern)
