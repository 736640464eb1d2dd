"""A member that iterates over the events."""

from __future__ import annotations

import anyio

import anyws

hub = anyws.Hub(history=100)


async def collect(count: int) -> list[str]:
    """Return the next messages of all rooms, and report gaps."""
    seen: list[str] = []
    with hub.subscribe("news", "room.*", overflow="drop_oldest") as events:
        async for event in events:
            seen.append(
                "missed some" if event.gap else f"{event.topic}: {event.message!s}"
            )
            if len(seen) == count:
                break
    return seen


async def main() -> list[str]:
    """Publish, and collect."""
    seen: list[str] = []
    async with hub, anyio.create_task_group() as tasks:

        async def member() -> None:
            seen.extend(await collect(2))

        tasks.start_soon(member)
        await anyio.wait_all_tasks_blocked()
        hub.publish("news", "hello")
        hub.publish("room.1", "hi")
    return seen


if __name__ == "__main__":
    print(anyio.run(main))
