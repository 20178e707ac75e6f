"""Clocks: the true offset is always inside the bound, and drift is found."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from streambench.clocks import SAME, Clock, Reading, fit, fit_hosts

MS = 1_000_000
S = 1_000_000_000
OURS = 4_321_000_000_000_000


class Host:
    """A host whose clock runs at its own rate from its own origin."""

    def __init__(self, *, offset_ns: int, drift_ppm: float) -> None:
        self.offset_ns = offset_ns
        self.rate = Fraction(drift_ppm) / 1_000_000

    def stamp(self, ours_ns: float) -> int:
        """Return what the host's clock shows, cut to whole nanoseconds."""
        since = Fraction(ours_ns) - OURS
        return int(Fraction(ours_ns) + self.offset_ns + since * self.rate)

    def offset_at(self, worker_ns: int) -> Fraction:
        """Return the true offset at an instant of the host's clock."""
        return worker_ns - (OURS + (worker_ns - self.offset_ns - OURS) / (1 + self.rate))


def readings(
    host: Host, *, n: int, span_s: float, seed: int, out_ms: float = 5.0, back_ms: float = 2.0
) -> list[Reading]:
    """Return tasks whose ways out and back have a floor and a queue in front."""
    draw = random.Random(seed)
    found: list[Reading] = []
    for _ in range(n):
        submit = OURS + draw.randrange(round(span_s * S))
        start = submit + (0.3 + draw.expovariate(1 / out_ms)) * MS
        end = start + draw.uniform(1, 50) * MS
        complete = end + (0.2 + draw.expovariate(1 / back_ms)) * MS
        found.append((submit, host.stamp(start), host.stamp(end), int(complete)))
    return found


def fitted(found: Clock | None) -> Clock:
    """Return a clock that is there."""
    assert found is not None
    return found


@pytest.mark.parametrize('n', [1, 2, 3, 10, 100, 1000])
@pytest.mark.parametrize('drift_ppm', [20.0, -20.0, 0.0, 133.7])
def test_the_true_offset_is_inside(n: int, drift_ppm: float) -> None:
    """Over 600 s, with queues on both ways and at any offset, the bound holds at every instant."""
    for seed in range(5):
        offset = random.Random(seed).randrange(-(10**17), 10**17)
        host = Host(offset_ns=offset, drift_ppm=drift_ppm)
        clock = fitted(fit(readings(host, n=n, span_s=600, seed=seed)))
        assert clock.feasible
        first, last = clock.span_ns
        for step in range(11):
            instant = first + (last - first) * step // 10
            low, high = clock.bounds_ns(instant)
            assert low <= host.offset_at(instant) <= high
            assert low <= clock.offset_ns(instant) <= high
            widest = clock.widest_ns
            assert widest is not None
            # Both ends are rounded outwards.
            assert high - low <= widest + 2


def test_drift_is_found() -> None:
    """20 ppm over 600 s are 12 ms; a fit of 2,000 tasks leaves less than 1.5 ms and finds the rate."""
    host = Host(offset_ns=-7 * S, drift_ppm=20.0)
    clock = fitted(fit(readings(host, n=2000, span_s=600, seed=3)))
    assert clock.n == 2000
    assert clock.drift_ppm == pytest.approx(20.0, abs=1.0)
    assert clock.widest_ns is not None
    assert clock.widest_ns < 1.5 * MS
    first, last = clock.span_ns
    assert clock.offset_ns(last) - clock.offset_ns(first) == pytest.approx(12 * MS, abs=0.6 * MS)
    assert clock.ours_ns(last) == pytest.approx(int(last - host.offset_at(last)), abs=0.6 * MS)


def test_the_bound_is_what_the_fastest_ways_leave() -> None:
    """If all tasks take 0.3 ms out and 0.2 ms back, the width is their sum and the offset midway."""
    tasks: list[Reading] = []
    for second in range(100):
        start = second * S + 300_000 + 5 * S
        tasks.append((second * S, start, start + MS, second * S + 1_500_000))
    clock = fitted(fit(tasks))
    middle = sum(clock.span_ns) // 2
    assert clock.width_ns(middle) == pytest.approx(500_000, abs=5)
    assert clock.offset_ns(middle) == pytest.approx(5 * S + 50_000, abs=5)
    assert clock.drift_ppm == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize('seed', range(20))
def test_the_bound_is_tight(seed: int) -> None:
    """It is the linear program's own: the same as from all pairs of constraints, in exact fractions."""
    tasks = readings(Host(offset_ns=S, drift_ppm=50.0), n=6, span_s=2, seed=seed)
    clock = fitted(fit(tasks))
    origin = clock.origin_ns
    # Lines a + b x <= y for starts, >= y for ends, and -limit <= b <= limit.
    above, below = [], []
    for submit, start, end, complete in tasks:
        assert submit is not None
        assert start is not None
        assert end is not None
        assert complete is not None
        above.append((start - origin, start - submit + 1))
        below.append((end - origin, end - complete - 1))
    limit = Fraction(500, 1_000_000)
    rates = {-limit, limit}
    for x1, y1 in above + below:
        rates |= {Fraction(y1 - y2, x1 - x2) for x2, y2 in above + below if x1 != x2}
    lines = []
    for rate in rates:
        high = min(y - rate * x for x, y in above)
        low = max(y - rate * x for x, y in below)
        if abs(rate) <= limit and low <= high:
            lines += [(rate, low), (rate, high)]
    for instant in clock.span_ns:
        offsets = [a + b * (instant - origin) for b, a in lines]
        assert clock.bounds_ns(instant) == pytest.approx((min(offsets), max(offsets)), rel=0, abs=2)


def test_only_what_is_wider_than_the_bound_is_told_apart() -> None:
    """A stage of 1 ms can't be told from an offset that is open by 0.5 s; one of 2 s can."""
    clock = fitted(fit([(0, 5 * S, 5 * S + MS, S // 2)]))
    assert clock.widest_ns == pytest.approx(S // 2, rel=0.01)
    assert not clock.separates(MS)
    assert clock.separates(2 * S)


def test_few_tasks_bound_drift_by_belief() -> None:
    """One task says nothing about drift, so the width grows with what is believed possible."""
    one = [(0, S, 2 * S, 2 * S)]
    widths = []
    for ppm in (0.0, 100.0, 500.0):
        clock = fitted(fit(one, max_drift_ppm=ppm))
        assert clock.width_ns(100 * S) is not None
        widths.append(clock.width_ns(100 * S) or 0)
        assert abs(clock.drift_ppm) <= ppm
    assert widths[0] < widths[1] < widths[2]


def test_a_clock_that_was_set_is_not_a_line() -> None:
    """A step of 1 s in the middle of the run satisfies no line; it is said and no width is claimed."""
    before = readings(Host(offset_ns=0, drift_ppm=0.0), n=200, span_s=60, seed=1)
    stepped: list[Reading] = []
    for submit, start, end, complete in before:
        assert start is not None
        assert end is not None
        assert submit is not None
        step = S if submit > OURS + 30 * S else 0
        stepped.append((submit, start + step, end + step, complete))
    clock = fitted(fit(stepped))
    assert not clock.feasible
    assert clock.widest_ns is None
    assert not clock.separates(S)


def test_tasks_without_all_instants_are_left_out() -> None:
    """A task that never came back bounds nothing, and alone gives no clock."""
    assert fit([(0, None, None, None), (0, 1, 2, None)]) is None
    assert fitted(fit([(0, 1, 2, None), (0, 5, 6, 9)])).n == 1


def test_workers_of_a_host_are_pooled() -> None:
    """Two workers that share a clock give one narrow bound; our own clock needs none."""
    host = Host(offset_ns=10**15, drift_ppm=-20.0)
    slow_out = readings(host, n=400, span_s=60, seed=1, out_ms=0.1, back_ms=90)
    slow_back = readings(host, n=400, span_s=60, seed=2, out_ms=90, back_ms=0.1)
    rows = [('far', *reading) for reading in slow_out + slow_back]
    rows += [('here', *reading) for reading in slow_out]
    rows += [('lost', 0, None, None, None)]
    clocks = fit_hosts([*rows, (None, 0, None, None, None)], 'here')
    assert set(clocks) == {'far', 'here'}
    assert clocks['here'] is SAME
    assert (SAME.offset_ns(99), SAME.width_ns(99), SAME.widest_ns) == (0, 0, 0)
    assert SAME.separates(1)
    alone = fitted(fit(slow_back)).widest_ns
    pooled = clocks['far'].widest_ns
    assert alone is not None
    assert pooled is not None
    assert pooled < 1 * MS
    assert pooled < alone
