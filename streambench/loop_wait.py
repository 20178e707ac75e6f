"""What our own loop costs an item: the time in which the loop was busy while the item waited for it.

An item waits for the loop at three places: from its intended instant until the generator takes it (if
that is on the loop), from its sending until the dispatcher has it, and from the end of its task until
the dispatcher knows. Their overlap with the time in which the loop was busy is the item's loop wait.
That time is read from libuv's own account of idle time, so it exists under uvloop only.
"""

from __future__ import annotations

import asyncio
from array import array
from typing import TYPE_CHECKING, Protocol

from streambench.clock import now_ns

if TYPE_CHECKING:
    import pyarrow

# Nothing shorter is told apart, and a reading takes a microsecond: on average there is none more often
# than this, so that it costs half a percent at most; a few may come sooner, for the stamps of an item
# follow each other closely where items don't.
APART_NS = 50_000
ON_AVERAGE_NS = 250_000
SOONER_NS = 20 * ON_AVERAGE_NS
# Rows are completed a few seconds after their items have ended; so many are twelve seconds at least.
KEPT = 100_000
NEVER_NS = -(1 << 62)
WAITS = (('intended_ns', 'put_start_ns'), ('send_ns', 'receive_ns'), ('end_ns', 'complete_ns'))


class IdleClock(Protocol):
    """What knows how long a loop had nothing to do."""

    def idle_ns(self) -> int | None:
        """Return that time since some begin."""


def idle_clock() -> IdleClock | None:
    """Return the idle clock of the running loop, or None if it has none."""
    from streambench.loop_monitor.libuv import LibuvClock, LibuvUnavailableError, is_uvloop

    loop = asyncio.get_running_loop()
    if not is_uvloop(loop):
        return None
    try:
        return LibuvClock(loop)
    except LibuvUnavailableError:
        return None


class LoopTime:
    """Where a loop's time went, by readings at the stamps of items.

    Args:
        clock: Knows the loop's idle time; without one nothing is read before there is one.
        generates: Whether the generator is on the loop too.
    """

    def __init__(self, clock: IdleClock | None, *, generates: bool = True) -> None:
        self._waits = WAITS if generates else WAITS[1:]
        # Appended to by the loop's thread, at last the idle time, and read by another.
        self._readings = (array('q'), array('q'))
        self._taken_ns = 0
        self._due_ns = -NEVER_NS
        self._clock: IdleClock | None = None
        if clock is not None:
            self.read(clock)

    def read(self, clock: IdleClock) -> None:
        """Read this clock from now on."""
        self._clock = clock
        self._due_ns = 0

    @property
    def known(self) -> bool:
        """Whether there is a clock."""
        return self._clock is not None

    def sample(self, at_ns: int) -> None:
        """Take a reading, unless there were so many of late that it would cost more than it finds.

        Args:
            at_ns: The present instant, stamped since the loop last rested.
        """
        if at_ns < self._due_ns:
            return
        # What the readings so far may take, at one per `ON_AVERAGE_NS`.
        self._taken_ns = max(self._taken_ns, at_ns) + ON_AVERAGE_NS
        self._due_ns = max(at_ns + APART_NS, self._taken_ns - SOONER_NS)
        at, idle = self._readings
        at.append(at_ns)
        idle.append(self._idle_ns())
        if len(at) > KEPT:
            self._readings = at[KEPT // 2 :], idle[KEPT // 2 :]

    def busy_total_ns(self) -> int:
        """Return an ever-growing count of the time in which the loop was busy."""
        return now_ns() - self._idle_ns()

    def _idle_ns(self) -> int:
        found = None if self._clock is None else self._clock.idle_ns()
        return found or 0

    def charge(self, items: pyarrow.Table) -> pyarrow.Table:
        """Return items with the loop wait of those that have come back, where it is known."""
        import pyarrow
        import pyarrow.compute as compute

        begin, end = (
            pyarrow.chunked_array([chunk for pair in self._waits for chunk in items[pair[side]].chunks])
            for side in range(2)
        )
        waits = self.busy_ns(begin.combine_chunks(), end.combine_chunks())
        count = items.num_rows
        whole = waits[:count]
        for number in range(1, len(self._waits)):
            whole = compute.add(whole, waits[number * count : (number + 1) * count])
        place = items.schema.get_field_index('loop_wait_ns')
        return items.set_column(place, items.schema.field(place), whole)

    def busy_ns(self, begin: pyarrow.Array, end: pyarrow.Array) -> pyarrow.Array:
        """Return for how long the loop was busy between instants.

        Between two readings the loop finishes its work first and rests then, since it is the end of a
        rest that makes the next stamp; after the last it is busy. Arrow does it for many values per
        call and without the GIL, which the loop needs.

        Args:
            begin: Instants.
            end: Later ones.

        Returns:
            Durations; absent where an instant is, or one lies before the readings that are kept.
        """
        import pyarrow
        import pyarrow.compute as compute

        at, idle = self._readings
        count = len(idle)
        if not count:
            return pyarrow.nulls(len(begin), pyarrow.int64())
        at_ns, rested_ns = _words(at[:count]), _words(idle[:count])
        # With it an instant gives the rest until then, once the next reading's rest has begun.
        ahead = compute.subtract(rested_ns[1:], at_ns[1:])
        ahead = pyarrow.concat_arrays([ahead, pyarrow.array([NEVER_NS], pyarrow.int64())])
        instants = pyarrow.concat_arrays([begin, end])
        before = _last_before(at_ns, instants)
        rested = compute.max_element_wise(
            rested_ns.take(before), compute.add(ahead.take(before), instants), skip_nulls=False
        )
        rested = compute.subtract(rested[len(begin) :], rested[: len(begin)])
        return compute.max_element_wise(
            compute.subtract(compute.subtract(end, begin), rested),
            pyarrow.scalar(0, pyarrow.int64()),
            skip_nulls=False,
        )


def _last_before(readings: pyarrow.Array, instants: pyarrow.Array) -> pyarrow.Array:
    """Return the place of the last reading that is not later than each instant; absent if none is.

    All are sorted together: Arrow searches in sorted values from version 26 on only.
    """
    import pyarrow
    import pyarrow.compute as compute

    order = compute.array_sort_indices(pyarrow.concat_arrays([readings, instants]))
    reading = compute.less(order, len(readings))
    places = compute.fill_null_forward(compute.if_else(reading, order, None))
    return places.take(compute.array_sort_indices(order)[len(readings) :])


def _words(values: array[int]) -> pyarrow.Array:
    """Return a column of its own, so that the values can go on growing."""
    import pyarrow

    data = pyarrow.py_buffer(values.tobytes())
    return pyarrow.Array.from_buffers(pyarrow.int64(), len(values), [None, data])
