"""Rank statistics: known values, brute force, and promises kept in simulation."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from streambench.ranks import (
    ALPHA,
    EXACT_RUNS,
    centre,
    holm,
    interval_rank,
    ratio,
    repeats_needed,
    smallest_p,
    two_sided_p,
)


@pytest.mark.parametrize(('n', 'p'), [(1, 1.0), (3, 0.1), (4, 0.0286), (5, 0.0079), (8, 0.00016)])
def test_smallest_p(n: int, p: float) -> None:
    """3 + 3 runs can't say less than 0.10, 4 + 4 than 0.029, 5 + 5 than 0.008."""
    apart = two_sided_p([1 + x for x in range(n)], [10 + x for x in range(n)])
    assert apart == pytest.approx(p, abs=5e-5 if n > 1 else 0)
    assert apart == pytest.approx(smallest_p(n, n))


def by_hand(a: list[float], b: list[float]) -> float:
    """Return the p value by going through every way to divide the values."""
    both = [*a, *b]
    ranks = [
        sum(other < value for other in both) + (sum(other == value for other in both) + 1) / 2
        for value in both
    ]
    found = sum(ranks[len(a) :])
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, len(b))]
    tails = sum(entry <= found for entry in sums), sum(entry >= found for entry in sums)
    return min(1.0, 2 * min(tails) / len(sums))


def test_exact_p_is_the_enumerated_one() -> None:
    """The recursion gives what enumeration gives, without ties and with many."""
    draw = random.Random(1)
    for places in (1, 12):
        for _ in range(30):
            a = [round(draw.random(), places) for _ in range(draw.randint(1, 6))]
            b = [round(draw.random() + 0.2, places) for _ in range(draw.randint(1, 6))]
            assert two_sided_p(a, b) == pytest.approx(by_hand(a, b), abs=1e-12)


def test_published_critical_values() -> None:
    """Critical U at 5 %, two-sided, as tabled: 2 for 5+5, 13 for 8+8, 23 for 10+10, 127 for 20+20."""
    ranks = [interval_rank(n, n) for n in (5, 8, 10, 20)]
    assert [rank - 1 for rank in ranks] == [2, 13, 23, 127]
    assert interval_rank(3, 3) == 0
    assert interval_rank(5, 8) == interval_rank(8, 5) == 7


def test_many_runs_go_on_where_exactness_ends() -> None:
    """The normal approximation continues the exact p and rank, ties or not."""
    draw = random.Random(2)
    half = EXACT_RUNS // 2
    a, b = ([round(draw.gauss(shift, 1), 1) for _ in range(half)] for shift in (0, 0.6))
    # One more pair in the middle hardly changes the evidence.
    assert two_sided_p([*a, 0.3], [*b, 0.3]) == pytest.approx(two_sided_p(a, b), rel=0.2)
    assert 0 < interval_rank(half + 1, half + 1) - interval_rank(half, half) < half
    assert two_sided_p([1.0] * half, [1.0] * (half + 1)) == 1.0


def test_ratio_by_hand() -> None:
    """The median of the 25 ratios, and the 3rd from either end."""
    a, b = [10.0, 11.0, 12.0, 13.0, 14.0], [20.0, 22.0, 23.0, 26.0, 30.0]
    ratios = sorted(y / x for x in a for y in b)
    found = ratio(a, b)
    assert (found.value, found.low, found.high) == pytest.approx((ratios[12], ratios[2], ratios[22]))


def test_three_runs_carry_no_interval() -> None:
    """With 3 + 3 the widest interval covers 90 % only, so there is none."""
    found = ratio([1.0, 1.1, 1.2], [2.0, 2.2, 2.4])
    assert found.value == pytest.approx(2.0)
    assert found.low is found.high is None


def test_interval_and_p_agree() -> None:
    """Without ties an interval excludes 1 exactly if p is at most 5 %."""
    draw = random.Random(3)
    seen = set()
    for _ in range(300):
        n, m = draw.randint(4, 9), draw.randint(4, 9)
        a = [draw.lognormvariate(0, 0.1) for _ in range(n)]
        b = [draw.lognormvariate(0.08, 0.1) for _ in range(m)]
        found = ratio(a, b)
        assert found.low is not None
        assert found.high is not None
        significant = two_sided_p(a, b) <= ALPHA
        assert significant == (not found.low <= 1 <= found.high)
        seen.add(significant)
    assert seen == {True, False}


@pytest.mark.parametrize('n', [5, 8])
def test_intervals_hold_their_promise(n: int) -> None:
    """The interval covers the true ratio in at least 95 % of simulations, skewed ones too."""
    draw = random.Random(n)
    covered, trials = 0, 3000
    for trial in range(trials):
        # Every second trial has a slow run in ten, by 30 %.
        slow = 0.3 * (trial % 2)
        a, b = (
            [
                scale * draw.lognormvariate(0, 0.05) * (1 + slow * (draw.random() < 0.1))
                for _ in range(n)
            ]
            for scale in (3.0, 3.3)
        )
        found = ratio(a, b)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.1 <= found.high
    # Three standard errors of 3000 trials are 1.2 %.
    assert 0.95 - 0.012 <= covered / trials <= 0.98


def test_where_runs_of_one_thing_lie() -> None:
    """The median of the means of all pairs, between the averages that published tables name."""
    found = centre([1.0, 2.0, 4.0])
    assert (found.low, found.high) == (None, None)
    assert found.value == pytest.approx(2.0)
    # Largest T with two-sided p at most 5 % (Wilcoxon's table): 0, 2, 3, 5, 8, 13, 25, 52.
    for n, critical in ((6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (15, 25), (20, 52)):
        values = [math.exp(draw) for draw in range(n)]
        means = sorted((a + b) / 2 for a in range(n) for b in range(a + 1))
        found = centre(values)
        assert found.low == pytest.approx(math.exp(means[critical]))
        assert found.high == pytest.approx(math.exp(means[-1 - critical]))


def test_the_centre_holds_its_promise() -> None:
    """At least 95 % of the intervals of skewed, symmetric on the logarithm, noise hold the truth."""
    draw = random.Random(3)
    trials, inside = 3000, 0
    for _ in range(trials):
        found = centre([math.exp(draw.gauss(0, 0.3)) for _ in range(8)])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 1 <= found.high
    assert inside / trials >= 0.95 - 2.6 * math.sqrt(0.05 * 0.95 / trials)


def test_holm_by_hand() -> None:
    """Holm's own steps: the smallest times 4, the next times 3, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_repeats_needed() -> None:
    """5 repeats for one metric; 8 corrected ones need a sixth: 8 x 0.0079 > 0.05 > 8 x 0.0022."""
    assert [repeats_needed(tests) for tests in (1, 6, 7, 8)] == [5, 5, 6, 6]
    assert math.isclose(smallest_p(6, 6), 2 / 924)
