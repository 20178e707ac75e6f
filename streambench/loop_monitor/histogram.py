"""Counts of durations in buckets of less than 1 % width, cheap to fill and small to keep.

Log-linear buckets as in HdrHistogram: each octave is cut into 128 equal parts, so that a bucket is
at most 1/128 of its value wide; below 256 ns every nanosecond has its own.
"""

from __future__ import annotations

from array import array

from streambench.loop_monitor.report import NS_PER_S, Distribution

_PART_BITS = 7
_PARTS = 1 << _PART_BITS
_LARGEST_NS = (1 << 43) - 1  # more than two hours
_FEW = 64


def bucket(value_ns: int) -> int:
    """Return the number of the bucket that holds a value of nanoseconds."""
    shift = value_ns.bit_length() - _PART_BITS - 1
    if shift <= 0:
        return value_ns
    return (shift << _PART_BITS) + (value_ns >> shift)


def lower_ns(number: int) -> int:
    """Return the smallest value that a bucket holds."""
    shift = (number >> _PART_BITS) - 1
    if shift <= 0:
        return number
    return (number - (shift << _PART_BITS)) << shift


_BUCKETS = bucket(_LARGEST_NS) + 1


class Histogram:
    """A distribution that grows; it allocates when it is made and never again."""

    __slots__ = ('_counts', 'count', 'max_ns', 'min_ns', 'total_ns')

    def __init__(self) -> None:
        self._counts = array('q', bytes(8 * _BUCKETS))
        self.count = 0
        self.total_ns = 0
        self.min_ns = _LARGEST_NS
        self.max_ns = 0

    def add(self, value_ns: int) -> None:
        """Count one value; a negative one counts as 0."""
        value_ns = min(max(value_ns, 0), _LARGEST_NS)
        shift = value_ns.bit_length() - 8
        self._counts[value_ns if shift <= 0 else (shift << 7) + (value_ns >> shift)] += 1
        self.count += 1
        self.total_ns += value_ns
        if value_ns > self.max_ns:
            self.max_ns = value_ns
        if value_ns < self.min_ns:
            self.min_ns = value_ns

    def add_falling(self, first_ns: int, step_ns: int, count: int) -> None:
        """Count first, first - step, first - 2 step, … at once.

        That is the lateness of all the ticks of one stall. The work is bounded by the number of
        buckets, however many ticks there were.

        Args:
            first_ns: The largest value; those that would fall below 0 count as 0.
            step_ns: How much smaller each is than the one before it, in ns; positive.
            count: How many there are.
        """
        if count <= _FEW:
            for number in range(count):
                self.add(first_ns - number * step_ns)
            return
        # The smallest few stand less than a bucket apart from nothing: they are counted one by one.
        positive = min(count, max(0, min(first_ns, _LARGEST_NS)) // step_ns + 1)
        for _ in range(count - positive):
            self.add(0)
        last = first_ns - (positive - 1) * step_ns
        number = bucket(max(last, 0))
        done = 0
        while done < positive:
            upper = lower_ns(number + 1)
            # How many of last, last + step, … lie below the bucket's upper end.
            below = min(positive, max(0, -((last - upper) // step_ns)))
            if below > done:
                self._counts[number] += below - done
                done = below
            reached = last + done * step_ns
            number = max(number + 1, bucket(min(reached, _LARGEST_NS)))
            if number >= _BUCKETS - 1:
                self._counts[_BUCKETS - 1] += positive - done
                break
        self.count += positive
        self.total_ns += positive * last + step_ns * (positive * (positive - 1) // 2)
        self.max_ns = max(self.max_ns, min(first_ns, _LARGEST_NS))
        self.min_ns = min(self.min_ns, max(last, 0))

    def plus(self, other: Histogram) -> Histogram:
        """Return a new histogram of the values of both."""
        both = Histogram()
        both._counts = array('q', map(int.__add__, self._counts, other._counts))
        both.count = self.count + other.count
        both.total_ns = self.total_ns + other.total_ns
        both.min_ns = min(self.min_ns, other.min_ns)
        both.max_ns = max(self.max_ns, other.max_ns)
        return both

    def frozen(self) -> Distribution:
        """Return what was counted until now."""
        return Distribution(
            count=self.count,
            total_s=self.total_ns / NS_PER_S,
            min_s=self.min_ns / NS_PER_S if self.count else None,
            max_s=self.max_ns / NS_PER_S if self.count else None,
            buckets=tuple(
                (lower_ns(number), lower_ns(number + 1), count)
                for number, count in enumerate(self._counts)
                if count
            ),
        )
