"""Figures: formulas against hand-made cases, and silence where n can't carry them."""

from __future__ import annotations

import random

import pyarrow
import pytest

from streambench.arrivals import Arrivals
from streambench.ideal import ideal_makespan_s, ideal_working_off_s
from streambench.stages import ranks_around
from streambench.summary import estimate, growth_per_item_s, samples_needed


def test_samples_needed() -> None:
    """The least n whose maximum lies above the quantile with 95 % probability."""
    assert [samples_needed(q) for q in (0.5, 0.95, 0.99, 0.999)] == [5, 59, 299, 2995]


def test_estimates_hold_their_promise() -> None:
    """The 95 % interval of a median covers the true one in about 95 % of samples."""
    draw = random.Random(7)
    covered = 0
    for _ in range(400):
        found = estimate([draw.expovariate(1.0) for _ in range(100)], 0.5)
        assert found is not None
        covered += found.low <= 0.6931 <= found.high
    assert 0.91 <= covered / 400 <= 0.985


def test_too_few_items_carry_no_percentile() -> None:
    """A p95 of 58 items is absent; of 59 it is there."""
    assert estimate([1.0] * 58, 0.95) is None
    assert estimate([1.0] * 59, 0.95) is not None


@pytest.mark.parametrize(
    ('count', 'interval_s', 'workers', 'ideal'),
    [
        (16, 1 / 3, 3, 6.0),
        (1, 1.0, 1, 1.0),
        (4, 0.5, 1, 4.0),
        (6, 0.25, 2, 3.25),
    ],
)
def test_ideal_makespan(count: int, interval_s: float, workers: int, ideal: float) -> None:
    """At load 1 the last item's arrival and sleep; above it the servers."""
    arrivals = Arrivals(count=count, interval_ns=round(interval_s * 1e9))
    found = ideal_makespan_s(arrivals.offsets_ns, task_sleep=1.0, compute_workers=workers)
    assert found == pytest.approx(ideal, abs=1e-6)


@pytest.mark.parametrize(
    ('offsets_s', 'workers', 'ideal'),
    [
        ([0, 0, 0, 0, 0], 2, 3.0),
        ([5, 5, 9], 1, 5.0),
        ([0, 0.5, 3], 1, 4.0),
        ([0, 0.5, 0.6, 0.7], 2, 2.5),
    ],
)
def test_ideal_makespan_of_any_arrivals(offsets_s: list[float], workers: int, ideal: float) -> None:
    """Waiting follows the real arrivals, and the makespan begins at the first of them."""
    # On the clock of an item's row, which began long before.
    drawn_ns = [round((offset + 7e4) * 1e9) for offset in offsets_s]
    found = ideal_makespan_s(drawn_ns, task_sleep=1.0, compute_workers=workers)
    assert found == pytest.approx(ideal, abs=1e-9)


def test_the_ideal_of_a_window_has_served_what_came_before() -> None:
    """Two items at 0 keep one server busy until 2; of those that count the last ends at 4."""
    found = ideal_makespan_s(
        [0, 0, 1_000_000_000, 1_500_000_000],
        task_sleep=1.0,
        compute_workers=1,
        since_ns=900_000_000,
    )
    assert found == pytest.approx(3.0)


def test_no_ideal_without_sleep() -> None:
    """Without a service time there is nothing to be ideal about."""
    assert ideal_makespan_s([1, 2], task_sleep=0, compute_workers=3) is None
    assert ideal_working_off_s(9, task_sleep=0, compute_workers=3) is None


@pytest.mark.parametrize(
    ('items', 'left_s', 'workers', 'ideal'),
    [
        (7, [], 3, 3.0),
        (6, [], 3, 2.0),
        (1, [], 3, 1.0),
        # The first to be free takes the one that is left over.
        (7, [0.9, 0.2, 0.5], 3, 3.2),
        (6, [0.9, 0.2, 0.5], 3, 2.9),
        (2, [0.9], 3, 1.0),
        (0, [0.4], 2, 0.4),
        # A statement of too few servers must not end in an error.
        (2, [0.1, 0.9, 0.5], 2, 1.9),
    ],
)
def test_a_closed_loop_is_worked_off(
    items: int, left_s: list[float], workers: int, ideal: float
) -> None:
    """Servers that are never idle take one item after the other, from where they are."""
    found = ideal_working_off_s(items, left_s=left_s, task_sleep=1.0, compute_workers=workers)
    assert found == pytest.approx(ideal)
    assert ideal_working_off_s(0, task_sleep=1.0, compute_workers=2) is None


def test_growth_is_seen_and_noise_is_not() -> None:
    """A sojourn that grows by 1 ms per item is said to; a noisy constant one isn't."""
    draw = random.Random(3)
    noisy = [0.05 + draw.uniform(0, 0.02) for _ in range(200)]
    assert growth_per_item_s(pyarrow.array(noisy), 0.02) is None
    growing = [value + 0.001 * number for number, value in enumerate(noisy)]
    found = growth_per_item_s(pyarrow.array(growing), 0.02)
    assert found == pytest.approx(0.001, rel=0.1)
    # A stall that the last 40 items share is no load that can't be carried.
    stalled = [*noisy[:160], *(value + 0.3 for value in noisy[160:])]
    assert growth_per_item_s(pyarrow.array(stalled), 0.02) is None
    assert growth_per_item_s(pyarrow.array(stalled), 0.02, even=False) is not None


@pytest.mark.parametrize(
    ('n', 'around'), [(3, 3), (8, 8), (9, 9), (64, 8), (65, 9), (300, 8), (401, 9), (1000, 20)]
)
def test_a_median_stands_on_some_items(n: int, around: int) -> None:
    """2 % of the items, and 8 or 9 where these would be fewer."""
    low, high = ranks_around('p50', n)
    inside = [item for item in range(n) if low * (n - 1) <= item <= high * (n - 1)]
    assert len(inside) == around
    assert low + high == pytest.approx(1)
    assert ranks_around('p99', 300) == (0.985, 0.995)
