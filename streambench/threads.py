"""Waiting for threads: a blocking call that is never left half done, and the future of an executor.

`asyncio.to_thread` returns at once when it is cancelled while its thread works on: what that thread
opens then has no owner.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Value = TypeVar('Value')


async def whole(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a thread; a cancellation takes effect when it has ended.

    Args:
        function: Blocks; leaves what it opened where its caller can close it.
        arguments: Its arguments.
    """
    import asyncio

    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            # Looked at, or the loop would report it as never retrieved.
            running.exception()
        raise


async def outcome_of(future: Future[Value]) -> Value:
    """Return the result of an executor's future.

    As `asyncio.wrap_future`, but that a cancellation may find a future that can't be cancelled: Parsl's
    raise, and the loop would report it.

    Args:
        future: Whoever ends it, in whatever thread.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wake(_: Future[Value]) -> None:
        # Nobody waits any more where the loop is closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    future.add_done_callback(wake)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        with suppress(NotImplementedError):
            future.cancel()
        raise
    return future.result()
