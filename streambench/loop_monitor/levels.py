"""How closely a loop is watched."""

from __future__ import annotations

from dataclasses import dataclass

from streambench.loop_monitor.refusals import LoopMonitorError

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Times of one level.

    Attributes:
        name: What it is called.
        interval_ns: Time between ticks.
        threshold_ns: Lateness from which a tick belongs to a stall.
    """

    name: str
    interval_ns: int
    threshold_ns: int

    @property
    def alert_ns(self) -> int:
        """Lateness at which the watchdog wants to look: it may have to wait 5 ms for the GIL."""
        return self.threshold_ns - 3 * NS_PER_MS


# The threshold is not below the interpreter's switch interval of 5 ms: a thread may wait so long for
# the GIL without anybody being to blame.
LEVELS = {
    name: Level(name=name, interval_ns=ms * NS_PER_MS, threshold_ns=max(5, ms // 2) * NS_PER_MS)
    for name, ms in (('off', 0), ('lite', 20), ('default', 10), ('fine', 5))
}


def level_of(name: str) -> Level:
    """Return a level by its name.

    Raises:
        LoopMonitorError: If there is none of that name.
    """
    if name not in LEVELS:
        raise LoopMonitorError(f'level {name!r} does not exist: take one of {", ".join(LEVELS)}')
    return LEVELS[name]
