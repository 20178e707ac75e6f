"""Waiting for what must not be left half done, blocking calls above all, and for an executor's future.

`asyncio.to_thread` returns at once when it is cancelled while its thread works on: what that thread
opens then has no owner. `asyncio.shield` does so too: what it shields goes on beside its caller, who
closes what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Value = TypeVar('Value')


async def to_its_end(work: Coroutine[Any, Any, Value]) -> Value:
    """Await a coroutine; cancellations, however many, take effect when it has ended.

    Args:
        work: Closes something, or opens what its caller can close.
    """
    import asyncio

    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    if not running.cancelled():
        # Looked at, or the loop would report it as never retrieved.
        running.exception()
    raise cancelled


async def whole(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a thread; a cancellation takes effect when it has ended.

    Args:
        function: Blocks; leaves what it opened where its caller can close it.
        arguments: Its arguments.
    """
    import asyncio

    return await to_its_end(asyncio.to_thread(function, *arguments))


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
