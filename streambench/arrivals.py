"""When the items of a run leave and how long they are: arrival processes and distributions of sizes.

Everything here is arithmetic, or drawn from a seed before the run, so both places of the generator,
the account of what was never received and the ideal makespan speak of the same instants. Reading a
recording is `trace`'s business, waiting for an instant `pacer`'s.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from streambench.clock import NS_PER_S
from streambench.kinds import Kind, count, number, size
from streambench.trace import TRACE, Trace, trace_path

CONSTANT = 'constant'
POISSON = 'poisson'
BURST = 'burst'
FIXED = 'fixed'
LOGNORMAL = 'lognormal'
CHOICE = 'choice'

# Beyond this the largest of a thousand items is a thousand times the mean.
MOST_SIGMA = 2.0
# The most that Redis takes as one value; a size drawn above it is cut.
MOST_DRAWN_BYTES = 512 * 2**20
DRAW_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrivals:
    """The intended instants of a run's items, from the start of its schedule.

    Attributes:
        count: Items, at least one.
        interval_ns: Mean time between two; 0 only if all leave at once.
        drawn_ns: The offsets, in their order, unless item n leaves at exactly n x interval.
        longest_gap_ns: The longest time in which no item leaves.
    """

    count: int
    interval_ns: int
    drawn_ns: array[int] | None = field(default=None, repr=False)
    longest_gap_ns: int = field(init=False)

    def __post_init__(self) -> None:
        gap_ns = self.interval_ns
        if self.drawn_ns is not None:
            gaps = (later - earlier for earlier, later in pairwise(self.drawn_ns))
            gap_ns = max(self.drawn_ns[0], max(gaps, default=0))
        object.__setattr__(self, 'longest_gap_ns', gap_ns)

    @property
    def constant(self) -> bool:
        """Whether item n leaves at exactly n x interval."""
        return self.drawn_ns is None

    @property
    def offsets_ns(self) -> Sequence[int]:
        """The offsets by item."""
        if self.drawn_ns is not None:
            return self.drawn_ns
        return range(0, self.count * self.interval_ns, self.interval_ns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sizes:
    """The lengths of a run's payloads.

    Attributes:
        size_bytes: The length of all of them, or their nominal mean.
        drawn_bytes: The length of each, where they differ; beyond the last they repeat.
    """

    size_bytes: int
    drawn_bytes: array[int] | None = field(default=None, repr=False)

    @property
    def varying(self) -> bool:
        """Whether they differ."""
        return self.drawn_bytes is not None

    @property
    def largest_bytes(self) -> int:
        """The longest, of the warm-up too."""
        return max(self.size_bytes, max(self.drawn_bytes or (0,)))

    def __getitem__(self, item: int) -> int:
        drawn = self.drawn_bytes
        return self.size_bytes if drawn is None else drawn[item % len(drawn)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Traffic:
    """What a run sends.

    Attributes:
        arrivals: When its items leave, or None for a closed loop.
        sizes: How long they are.
    """

    arrivals: Arrivals | None
    sizes: Sizes

    def plain(self) -> dict[str, Any]:
        """Return it as plain data and bytes, for a generator elsewhere."""
        drawn_ns = self.arrivals.drawn_ns if self.arrivals else None
        return {
            'arrivals': self.arrivals and (self.arrivals.count, self.arrivals.interval_ns),
            'drawn_ns': drawn_ns and drawn_ns.tobytes(),
            'size_bytes': self.sizes.size_bytes,
            'drawn_bytes': self.sizes.drawn_bytes and self.sizes.drawn_bytes.tobytes(),
        }


def traffic_of(plain: dict[str, Any]) -> Traffic:
    """Return the traffic that was made `plain`."""
    arrivals = None
    if plain['arrivals'] is not None:
        items, interval_ns = plain['arrivals']
        drawn_ns = plain['drawn_ns'] and array('q', plain['drawn_ns'])
        arrivals = Arrivals(count=items, interval_ns=interval_ns, drawn_ns=drawn_ns)
    drawn_bytes = plain['drawn_bytes'] and array('q', plain['drawn_bytes'])
    return Traffic(
        arrivals=arrivals, sizes=Sizes(size_bytes=plain['size_bytes'], drawn_bytes=drawn_bytes)
    )


def arrival_kind() -> Kind:
    """Return the kind of `constant`, `poisson`, `burst:N` and `trace:FILE`."""
    items = count(maximum=10**9)

    def parse(value: Any) -> str:
        word, _, rest = str(value).partition(':')
        if value in (CONSTANT, POISSON) or trace_path(str(value)):
            return str(value)
        if word == BURST:
            with suppress(ValueError):
                return f'{BURST}:{items.parse(rest)}'
        raise ValueError(
            f'must be {CONSTANT}, {POISSON}, {BURST}:N with a whole N of at least 1, or {TRACE}:FILE'
        )

    return Kind(metavar='ARRIVAL', parse=parse)


def sizes_kind() -> Kind:
    """Return the kind of `fixed`, `lognormal:SIGMA` and `choice:SIZE=WEIGHT,...`."""

    def parse(value: Any) -> str:
        parse_sizes(str(value))
        return str(value)

    return Kind(metavar='DISTRIBUTION', parse=parse)


def parse_sizes(text: str) -> tuple[str, float, dict[int, float]]:
    """Return a distribution's word, its sigma, and its weights by size.

    Raises:
        ValueError: If it can't be read; says what it must be.
    """
    word, colon, rest = text.partition(':')
    if text == FIXED:
        return FIXED, 0.0, {}
    weight = number(above=True)
    try:
        if word == LOGNORMAL and colon:
            return LOGNORMAL, number(maximum=MOST_SIGMA, above=True).parse(rest), {}
        if word == CHOICE and colon:
            weights: dict[int, float] = {}
            for entry in rest.split(','):
                length, equals, share = entry.partition('=')
                bytes_ = size(minimum=1).parse(length)
                if bytes_ in weights:
                    raise ValueError(f'must name {length.strip()} once')
                weights[bytes_] = weight.parse(share) if equals else 1.0
            return CHOICE, 0.0, weights
    except ValueError as error:
        raise ValueError(f'has a part after {word}: that {error}') from None
    raise ValueError(f'must be {FIXED}, {LOGNORMAL}:SIGMA or {CHOICE}:SIZE=WEIGHT,...')


def mean_choice_bytes(text: str) -> int | None:
    """Return the mean of a distribution that brings its own sizes, or None if it brings none."""
    word, _, weights = parse_sizes(text)
    if word != CHOICE:
        return None
    return max(1, round(sum(length * w for length, w in weights.items()) / sum(weights.values())))


def draw_arrivals(
    arrival: str,
    *,
    items: int,
    rate_per_s: float | None,
    seed: int,
    trace: Trace | None,
    speed: float,
    duration_s: float | None = None,
) -> Arrivals:
    """Return when the items of a run leave.

    Constant: item n at n x interval. Burst of N: each N items at once, when the first of them would
    leave. Trace: as recorded, at another speed if asked. Poisson: the first item at the start, the
    others after independent exponential gaps of mean 1 / rate.

    Args:
        arrival: As in the option.
        items: How many; as many as a trace has.
        rate_per_s: Mean rate; None only if all items of a trace left at once.
        seed: The run's.
        trace: What is replayed, if it is a trace.
        speed: How many times faster than it was recorded.
        duration_s: Time in which they leave, in place of their number: those before its end.
    """
    interval_ns = round(NS_PER_S / rate_per_s) if rate_per_s else 0
    end_ns = None if duration_s is None else round(duration_s * NS_PER_S)
    word, _, rest = arrival.partition(':')
    if word == TRACE:
        assert trace is not None
        offsets = trace.offsets_ns
        if speed != 1:
            offsets = array('q', (round(offset / speed) for offset in offsets))
        if end_ns is not None:
            offsets = offsets[: max(1, bisect_left(offsets, end_ns))]
        return Arrivals(count=len(offsets), interval_ns=interval_ns, drawn_ns=offsets)
    if end_ns is not None and word != POISSON:
        items = max(1, -(-end_ns // interval_ns))
    if word == BURST:
        burst = int(rest)
        starts = (item // burst * burst * interval_ns for item in range(items))
        return Arrivals(count=items, interval_ns=interval_ns, drawn_ns=array('q', starts))
    if word == CONSTANT:
        return Arrivals(count=items, interval_ns=interval_ns)
    assert rate_per_s is not None
    draw = random.Random(f'arrivals {seed}').expovariate
    drawn = array('q')
    at_s = 0.0
    while (len(drawn) < items) if end_ns is None else (not drawn or at_s * NS_PER_S < end_ns):
        drawn.append(round(at_s * NS_PER_S))
        at_s += draw(rate_per_s)
    return Arrivals(count=len(drawn), interval_ns=interval_ns, drawn_ns=drawn)


def draw_sizes(
    distribution: str, *, items: int, mean_bytes: int, seed: int, trace: Trace | None
) -> Sizes:
    """Return how long the payloads of a run are.

    Lognormal: exp(mu + sigma z) with z standard normal and mu = ln(mean) - sigma^2 / 2, whose mean is
    exp(mu + sigma^2 / 2) = `mean_bytes` (Johnson, Kotz & Balakrishnan, Continuous Univariate
    Distributions, vol. 1, 1994, ch. 14), rounded to whole bytes of at least 1 and cut at 512 MiB.

    Args:
        distribution: As in the option.
        items: How many.
        mean_bytes: Their mean, or the length of all.
        seed: The run's.
        trace: What is replayed; its sizes, if it has them, go before the distribution.
    """
    if trace is not None and trace.sizes_bytes is not None:
        return Sizes(size_bytes=mean_bytes, drawn_bytes=trace.sizes_bytes)
    word, sigma, weights = parse_sizes(distribution)
    if word == FIXED:
        return Sizes(size_bytes=mean_bytes)
    draw = random.Random(f'sizes {seed}')
    drawn = array('q')
    if word == CHOICE:
        lengths, shares = list(weights), list(weights.values())
        for begin in range(0, items, DRAW_AT_ONCE):
            drawn.extend(draw.choices(lengths, shares, k=min(DRAW_AT_ONCE, items - begin)))
        return Sizes(size_bytes=mean_bytes, drawn_bytes=drawn)
    mu = math.log(mean_bytes) - sigma * sigma / 2
    drawn.extend(
        min(MOST_DRAWN_BYTES, max(1, round(draw.lognormvariate(mu, sigma)))) for _ in range(items)
    )
    return Sizes(size_bytes=mean_bytes, drawn_bytes=drawn)
