"""A blocking call in a thread, never left half done.

`asyncio.to_thread` returns at once when it is cancelled while its thread works on: what that thread
opens then has no owner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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
