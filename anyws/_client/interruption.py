"""Whether Ctrl-C is the reason of a cancellation.

Trio raises KeyboardInterrupt in the main task. asyncio, with uvloop too, cancels its
main task instead, and raises KeyboardInterrupt once that has ended: too late to choose
a close code. No public name tells such a cancellation from another one. But the public
`signal.getsignal` returns the handler that asyncio's Runner has installed: a partial of
a method of the Runner, with the main task as a keyword. The Runner counts interrupts.
"""

from __future__ import annotations

import signal
from functools import partial

from anyio import get_current_task


def interrupted() -> bool:
    """Whether this is the main task, and asyncio has cancelled it for Ctrl-C.

    False where the handler is not asyncio's, or a later Python's has another shape: the
    cancellation is one like any other then.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not isinstance(handler, partial):
        return False
    count = getattr(getattr(handler.func, "__self__", None), "_interrupt_count", 0)
    main_task = handler.keywords.get("main_task")
    return count > 0 and get_current_task().id == id(main_task)
