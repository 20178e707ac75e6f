"""What few runs can say about a change: rank test, ratio with interval, and what they can't say.

Nothing here knows what a run is; it takes two samples of positive figures. Ranks are used because
times of runs are skewed and have outliers. Sources of the formulas stand at the functions.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

ALPHA = 0.05
MIN_REPEATS = 5
EXACT_RUNS = 60
# Fewer runs of one thing carry no 95 % interval of their own.
LEAST_REPEATS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio B/A, or a figure, with its interval of at least 95 %; no ends if n can't carry them."""

    value: float
    low: float | None
    high: float | None


@functools.lru_cache(maxsize=256)
def _sums(scores: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return for each sum how many subsets of `size` scores have it.

    The shift algorithm (Streitberg & Röhmel, Exact distributions for permutation and rank tests,
    Statistical Software Newsletter 12, 1986): one score after the other is taken or left. The counts
    of all sums stand side by side in one large integer, so that taking a score is one shift.
    """
    step = len(scores) // 8 + 1  # bytes for a count, which is at most 2^len(scores)
    packed = [1] + [0] * size
    for number, score in enumerate(scores, 1):
        for taken in range(min(size, number), 0, -1):
            packed[taken] += packed[taken - 1] << (8 * step * score)
    longest = sum(sorted(scores)[len(scores) - size :]) + 1
    data = packed[size].to_bytes(step * longest, 'little')
    return tuple(int.from_bytes(data[at : at + step], 'little') for at in range(0, len(data), step))


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Return twice the rank of each value, ties sharing the mean of theirs: whole numbers."""
    places: dict[float, tuple[int, int]] = {}
    for place, value in enumerate(sorted(values), 1):
        places[value] = (places.get(value, (place, place))[0], place)
    return [sum(places[value]) for value in values]


def two_sided_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the p value of the Wilcoxon-Mann-Whitney test, twice the smaller tail.

    Up to `EXACT_RUNS` values it is exact, given the ties that there are (Lehmann, Nonparametrics, 1975,
    section 1.4). Above, the normal approximation with continuity and tie correction (Hollander &
    Wolfe, Nonparametric Statistical Methods, 1999, section 4.1).
    """
    n, m = len(a), len(b)
    total = n + m
    ranks = _doubled_ranks([*a, *b])
    found = sum(ranks[n:])
    if total <= EXACT_RUNS:
        counts = _sums(tuple(sorted(ranks)), m)
        tail = min(sum(counts[: found + 1]), sum(counts[found:]))
        return min(1.0, 2 * tail / math.comb(total, m))
    ties = sum(count**3 - count for count in _tie_sizes(ranks))
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if not variance:
        return 1.0
    distance = max(0.0, abs(found / 2 - m * (total + 1) / 2) - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))


def _tie_sizes(ranks: Sequence[int]) -> list[int]:
    sizes: dict[int, int] = {}
    for rank in ranks:
        sizes[rank] = sizes.get(rank, 0) + 1
    return list(sizes.values())


@functools.lru_cache(maxsize=256)
def interval_rank(n: int, m: int) -> int:
    """Return which of the ordered differences bounds their 95 % interval; 0 if n can't carry one.

    The largest k with P(U < k) <= 2.5 %: the rank test inverted (Hollander & Wolfe, 1999, section
    4.3). Above `EXACT_RUNS` values by the normal approximation given there.
    """
    if n + m > EXACT_RUNS:
        half = statistics.NormalDist().inv_cdf(1 - ALPHA / 2) * math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - half))
    least = m * (m + 1) // 2
    allowed = ALPHA / 2 * math.comb(n + m, m)
    below, k = 0, 0
    for count in _sums(tuple(range(1, n + m + 1)), m)[least:]:
        below += count
        if below > allowed:
            break
        k += 1
    return k


def ratio(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Return how many times larger b is than a.

    The Hodges-Lehmann estimate on logarithms, which is the median of all ratios of a value of b and
    one of a (Hodges & Lehmann, Annals of Mathematical Statistics 34, 1963), with the interval of
    `interval_rank` (Moses; Hollander & Wolfe, 1999, sections 4.2 and 4.3).

    Args:
        a: Positive figures, one per run.
        b: The same of the other side.
    """
    logs = [math.log(value) for value in a]
    shifts = sorted(math.log(value) - log for value in b for log in logs)
    k = interval_rank(len(a), len(b))
    return Ratio(
        value=math.exp(statistics.median(shifts)),
        low=math.exp(shifts[k - 1]) if k else None,
        high=math.exp(shifts[-k]) if k else None,
    )


@functools.lru_cache(maxsize=256)
def _signed_rank(n: int) -> int:
    """Return which of the ordered averages bounds their 95 % interval; 0 if n can't carry one.

    The largest k with P(T < k) <= 2.5 %, T being the sum of the ranks of the values above the middle:
    each of 1 to n counts or doesn't (Hollander & Wolfe, 1999, sections 3.1 and 3.3). Above `EXACT_RUNS`
    values by the normal approximation given there.
    """
    most = n * (n + 1) // 2
    if n > EXACT_RUNS:
        half = statistics.NormalDist().inv_cdf(1 - ALPHA / 2) * math.sqrt(most * (2 * n + 1) / 12)
        return max(0, math.floor(most / 2 - half))
    counts = [1] + [0] * most
    for rank in range(1, n + 1):
        for total in range(most, rank - 1, -1):
            counts[total] += counts[total - rank]
    allowed = ALPHA / 2 * 2**n
    below, k = 0, 0
    for count in counts:
        below += count
        if below > allowed:
            break
        k += 1
    return k


def centre(values: Sequence[float]) -> Ratio:
    """Return where runs of one thing lie: the Hodges-Lehmann estimate with its 95 % interval.

    On logarithms, so that the interval's width is a share: the median of the means of all pairs, each
    value paired with itself too (Hodges & Lehmann, 1963), with the signed-rank interval of Tukey
    (Hollander & Wolfe, 1999, sections 3.2 and 3.3).

    Args:
        values: Positive figures, one per run.
    """
    logs = [math.log(value) for value in values]
    means = sorted(
        (one + logs[other]) / 2 for place, one in enumerate(logs) for other in range(place + 1)
    )
    k = _signed_rank(len(logs))
    return Ratio(
        value=math.exp(statistics.median(means)),
        low=math.exp(means[k - 1]) if k else None,
        high=math.exp(means[-k]) if k else None,
    )


def smallest_p(n: int, m: int) -> float:
    """Return the smallest two-sided p that n + m runs can give: all of one side above the other."""
    return min(1.0, 2 / math.comb(n + m, m))


def repeats_needed(tests: int) -> int:
    """Return how many runs on each side can show a change at 5 %, if corrected for `tests` of them."""
    repeats = MIN_REPEATS
    while tests * smallest_p(repeats, repeats) > ALPHA:
        repeats += 1
    return repeats


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number.

    The k-th smallest of n is multiplied by n + 1 - k and none is below one before it (Holm,
    Scandinavian Journal of Statistics 6, 1979).
    """
    corrected = [0.0] * len(values)
    reached = 0.0
    for done, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        reached = min(1.0, max(reached, (len(values) - done) * values[number]))
        corrected[number] = reached
    return corrected
