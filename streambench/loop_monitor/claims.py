"""Which loops are monitored: by one monitor each, and in a forked child by none of its parent's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from streambench.loop_monitor.refusals import LoopMonitorError


@dataclass(frozen=True, slots=True)
class _Claim:
    level: str
    disown: Callable[[], None]


_claims: dict[int, _Claim] = {}
_hooked = False


def claim(loop: asyncio.AbstractEventLoop, *, level: str, disown: Callable[[], None]) -> None:
    """Note that a monitor observes a loop.

    Args:
        loop: The loop.
        level: How closely.
        disown: Called in a forked child, where the monitor's watchdog is missing.

    Raises:
        LoopMonitorError: If another monitor does.
    """
    global _hooked
    other = _claims.get(id(loop))
    if other is not None:
        raise LoopMonitorError(
            f'this loop has a monitor already (level {other.level!r}): stop that one first, or read it '
            'with snapshot()'
        )
    _claims[id(loop)] = _Claim(level, disown)
    if not _hooked and hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=_forked)
        _hooked = True


def release(loop: asyncio.AbstractEventLoop) -> None:
    """Note that a loop isn't observed any more."""
    _claims.pop(id(loop), None)


def _forked() -> None:
    claims = list(_claims.values())
    _claims.clear()
    for each in claims:
        each.disown()
