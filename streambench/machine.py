"""The machine that a run shares with others: how busy it is, and what its host takes away."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.1
# user, nice, system, idle, iowait, irq, softirq, steal: proc(5).
IDLE, IOWAIT, STEAL = 3, 4, 7


@dataclass(frozen=True, slots=True)
class Cores:
    """Time of all cores together since boot, in seconds.

    Attributes:
        busy: Running something.
        stolen: Taken by the host for other machines.
        total: All of it.
        own: Of `busy`, what this process used.
    """

    busy: float
    stolen: float
    total: float
    own: float


def read_cores() -> Cores | None:
    """Return where the cores' time went so far; None where the kernel doesn't say."""
    try:
        first = Path('/proc/stat').read_text(encoding='ascii').split('\n', 1)[0].split()[1:9]
        ticks = [int(word) for word in first]
        rate = os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError):
        return None
    if len(ticks) < 8:
        return None
    return Cores(
        busy=(sum(ticks) - ticks[IDLE] - ticks[IOWAIT] - ticks[STEAL]) / rate,
        stolen=ticks[STEAL] / rate,
        total=sum(ticks) / rate,
        own=time.process_time(),
    )


def busy_share(before: Cores | None, after: Cores | None) -> float | None:
    """Return the share of the cores that others kept busy between two readings."""
    if before is None or after is None or after.total <= before.total:
        return None
    others = after.busy - before.busy - (after.own - before.own)
    return min(1.0, max(0.0, others / (after.total - before.total)))


def stolen_share(before: Cores | None, after: Cores | None) -> float | None:
    """Return the share of the cores that the host took away between two readings."""
    if before is None or after is None or after.total <= before.total:
        return None
    return (after.stolen - before.stolen) / (after.total - before.total)


async def look() -> float | None:
    """Watch the machine for a moment in which nothing of the run is under way.

    Returns:
        The share of the cores that others keep busy; None where the kernel doesn't say.
    """
    before = await asyncio.to_thread(read_cores)
    await asyncio.sleep(LOOK_S)
    return busy_share(before, await asyncio.to_thread(read_cores))
