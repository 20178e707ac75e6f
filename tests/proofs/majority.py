"""One run of a few seconds can be spoiled by what else the machine does; two of three are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path


async def majority(experiment: Callable[[Path], Awaitable[None]], directory: Path) -> None:
    """Run an experiment, and twice more if the first failed: then both of these must hold.

    Args:
        experiment: Asserts what must be; called with a directory of its own.
        directory: Where these are made.

    Raises:
        AssertionError: Of the second failure, if two of three failed.
    """
    failures = 0
    for name in ('first', 'second', 'third'):
        place = directory / name
        await asyncio.to_thread(place.mkdir)
        try:
            await experiment(place)
        except AssertionError:
            failures += 1
            if failures == 2:
                raise
        else:
            if not failures:
                return
