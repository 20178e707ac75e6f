"""The oracle: how long each item had to wait by queueing theory, and what it waited beyond that.

An item waits from its arrival in the dispatcher (`receive_ns`) to its start on a worker (`start_ns`).
Part of that is nobody's fault: all servers were busy. The recursion of Kiefer and Wolfowitz (1955; for
one server Lindley, 1952) says how much, item by item, for any arrivals, any service times and any load,
without randomness and without fitting anything. It is offered in two ways:

- *free-running* (`waits_ns`): arrivals and service times only. This is the theory of a system without
  overhead, right for tables and ideal makespans. Held against a measurement at a load near 1 it is
  of no use: each hand-over of 0.3 ms makes every later item of the busy period late, so that the
  last of 1,000 items is 300 ms "unexplained" though each hand-over cost 0.3 ms.
- *one step ahead* (`starts_ns`): the measured starts and ends of the items so far are fed back, and
  only the next start is predicted. A delay moves the measured end of its item, so the items behind
  it find their waiting explained: each delay is charged once, to the item that suffered it.

Stamps must be on one clock: those of workers on other hosts are corrected first (`clocks`).
"""

from __future__ import annotations

import math
from bisect import bisect, insort
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace, nlargest

from streambench.clock import NS_PER_S

# Sequence, receive_ns, start_ns, end_ns.
Visit = tuple[int, int | None, int | None, int | None]

# A one-sided 95 % bound of a p99 needs that many items (methodology, rule 13).
P99_ITEMS = 299
# Normal quantiles that turn a median absolute deviation and q90 - q50 into a standard deviation.
MAD_TO_SIGMA = 1.4826
Q90_SIGMAS = 1.2816
ROUNDS = 20
# What sticks out by default. 6 deviations leave 1 in 400 items of lognormal noise (shape 0.8) outside.
# 2 ms lies between the bounds of rule 9, 1 ms for the median and 5 ms for the p99, so that most stalls
# of a busy machine's scheduler stay below it.
SIGMAS = 6.0
AT_LEAST_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How much of the waiting the recursion explains.

    Attributes:
        n: Items behind the figures.
        left_out: Items without all three instants.
        overtaken: Items that started after one that had arrived later.
        explained_percent: 100 (1 - sum of |unexplained| / sum of waiting); None where nothing waited.
            It is small at low load, where there is no queueing to explain: read it with the mean.
        unexplained_mean_s: Mean of measured minus computed waiting. Below 0 only if there are more
            servers than stated or the clocks disagree; never clipped.
        unexplained_median_s: Median of the same.
        unexplained_p99_s: 99th percentile; None below 299 items.
        limit_s: Unexplained waiting above which an item sticks out.
        sticking_out: Sequences of those items, ascending.
    """

    n: int
    left_out: int
    overtaken: int
    explained_percent: float | None
    unexplained_mean_s: float | None
    unexplained_median_s: float | None
    unexplained_p99_s: float | None
    limit_s: float | None
    sticking_out: tuple[int, ...]


def waits_ns(arrivals_ns: Sequence[int], services_ns: Sequence[int], *, servers: int) -> list[int]:
    """Return each item's waiting time in a queue without overhead: the free-running recursion.

    Kiefer and Wolfowitz, On the theory of queues with many servers, Trans. AMS 78 (1955); with one
    server Lindley, The theory of queues with a single server, Proc. Camb. Phil. Soc. 48 (1952). Each
    item starts at its arrival or when the first server is free; all are free at the start.

    Args:
        arrivals_ns: Instants in the order of service, ascending.
        services_ns: Service time of each item.
        servers: How many items are served at a time.

    Raises:
        ValueError: If the arrivals descend, the lengths differ or there is no server.
    """
    if servers < 1:
        raise ValueError(f'{servers} servers: there must be at least 1')
    if not arrivals_ns:
        return []
    # No more servers are ever touched than there are items.
    free = [arrivals_ns[0]] * min(servers, len(arrivals_ns))
    waits = []
    before = arrivals_ns[0]
    for arrival, service in zip(arrivals_ns, services_ns, strict=True):
        if arrival < before:
            raise ValueError(f'arrival {arrival} after {before}: arrivals must ascend')
        before = arrival
        start = max(arrival, free[0])
        heapreplace(free, start + service)
        waits.append(start - arrival)
    return waits


def starts_ns(visits: Sequence[tuple[int, int, int]], servers: int) -> list[int]:
    """Return each item's predicted start, given what happened before: the one-step-ahead recursion.

    The step is that of `waits_ns`, start = max(arrival, first free server), where the servers' state is
    not the theory's but the measured one. Which items count as that state is what charges a delay once:

    - Items ahead in the queue that started before this one count with their *measured* ends. So the
      lateness of a predecessor explains this item's waiting and isn't charged again.
    - Items ahead in the queue that start after this one were held back. Such an item may sit on a
      server that it has taken and not begun on, or be stuck outside; its own prediction charges it
      either way. It is taken to hold a server as far as that leaves one for this item to have started
      on, else the item that passes it would be charged for the same delay once more.
    - Items behind in the queue don't count: to be passed isn't explained by first come, first served.

    As long as no more than `servers` items run at a time, the prediction is never later than the
    measured start, since at that instant fewer than `servers` predecessors run.

    Cost: O(n log n), plus the number of pairs in which one item passes another.

    Args:
        visits: Arrival, measured start and measured end of each item, in the order of arrival.
        servers: How many items are served at a time.

    Raises:
        ValueError: If there is no server.
    """
    if servers < 1:
        raise ValueError(f'{servers} servers: there must be at least 1')
    predicted = [0] * len(visits)
    # Ends and places in the queue. `running` is a heap; `finished` ascends, because what starts later
    # can't end before what has ended.
    running: list[tuple[int, int]] = []
    finished: list[tuple[int, int]] = []
    # Every place below `frontier` has started, and those in `ahead`, which is sorted.
    frontier = 0
    ahead: list[int] = []
    # What took no time was over before anything else began at that instant.
    order = sorted(
        range(len(visits)),
        key=lambda place: (visits[place][1], visits[place][2] > visits[place][1], place),
    )
    for place in order:
        arrival, start, end = visits[place]
        while running and running[0][0] <= start:
            finished.append(heappop(running))
        passed_by = len(ahead) - bisect(ahead, place)
        held_back = place - frontier - (len(ahead) - passed_by)
        busy = [visit for visit in running if visit[1] < place] if passed_by else running
        if len(busy) >= servers:
            # More items run than there are servers: the statement about servers is wrong, and the
            # prediction later than the start.
            free = nlargest(servers, busy)[-1][0]
        else:
            room = servers - len(busy)
            free = _nth_last_end(finished, room - min(held_back, room - 1), place=place, since=arrival)
        predicted[place] = max(arrival, free)
        heappush(running, (end, place))
        if place == frontier:
            frontier += 1
            caught_up = 0
            while caught_up < len(ahead) and ahead[caught_up] == frontier:
                caught_up += 1
                frontier += 1
            del ahead[:caught_up]
        else:
            insort(ahead, place)
    return predicted


def _nth_last_end(finished: list[tuple[int, int]], nth: int, *, place: int, since: int) -> int:
    """Return the n-th last end of the items ahead of a place, or `since` if it lies before that."""
    for end, other in reversed(finished):
        if end <= since:
            break
        if other < place:
            nth -= 1
            if not nth:
                return end
    return since


def sticking_out_limit(residuals: Sequence[float], *, sigmas: float, at_least: float) -> float:
    """Return the value above which a residual sticks out of the others.

    The median plus the larger of `at_least` and `sigmas` standard deviations. Hand-over times are
    skewed: the usual robust deviation, 1.4826 times the median absolute one (Hampel, JASA 69, 1974),
    is that of a symmetric bulk and would let one item in a hundred stick out of exponential noise. So
    it only makes the first cut; then the upper deviation (q90 - q50) / 1.2816 of what lies below
    the cut makes the next, until nothing moves. Cutting first keeps delays out of q90, also when they
    hit more than one item in ten.

    Args:
        residuals: At least one.
        sigmas: Standard deviations.
        at_least: Least distance from the median, in the unit of the residuals.
    """
    ordered = sorted(residuals)
    middle = _quantile(ordered, 0.5)
    deviation = MAD_TO_SIGMA * _quantile(sorted(abs(value - middle) for value in ordered), 0.5)
    limit = middle + max(at_least, sigmas * deviation)
    for _ in range(ROUNDS):
        kept = ordered[: bisect(ordered, limit)]
        centre = _quantile(kept, 0.5)
        deviation = (_quantile(kept, 0.9) - centre) / Q90_SIGMAS
        following = centre + max(at_least, sigmas * deviation)
        if following == limit:
            break
        limit = following
    return limit


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    """Return an order statistic: the least value with that share of the sample at or below it."""
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def explain(
    items: Iterable[Visit],
    servers: int,
    *,
    free_running: bool = False,
    sigmas: float = SIGMAS,
    at_least_s: float = AT_LEAST_S,
    counted: Container[int] | None = None,
) -> Explanation:
    """Hold the measured waiting of a run's items against the recursion.

    Give all items that ran, failed ones too, since they held a server.

    Args:
        items: Sequence, receive_ns, start_ns and end_ns, in any order; those with None are left out.
        servers: Workers that compute.
        free_running: Whether to compare with the theory of a system without overhead, where delays
            add up, rather than one step ahead.
        sigmas: Standard deviations of the unexplained waiting beyond which an item sticks out.
        at_least_s: Least unexplained waiting beyond the median with which an item sticks out.
        counted: Sequences that the figures are about; all if absent. The others held servers too.

    Raises:
        ValueError: If there is no server.
    """
    left_out = 0
    queue: list[tuple[int, int, int, int]] = []
    for sequence, receive, start, end in items:
        if receive is None or start is None or end is None:
            left_out += 1
        else:
            queue.append((receive, sequence, start, end))
    queue.sort()
    visits = [(receive, start, end) for receive, _, start, end in queue]
    if free_running:
        computed = waits_ns(
            [receive for receive, _, _ in visits],
            [end - start for _, start, end in visits],
            servers=servers,
        )
    else:
        starts = starts_ns(visits, servers)
        computed = [start - visit[0] for start, visit in zip(starts, visits, strict=True)]
    judged = [
        number
        for number, (_, sequence, _, _) in enumerate(queue)
        if counted is None or sequence in counted
    ]
    n = len(judged)
    if not n:
        return Explanation(
            n=0,
            left_out=left_out,
            overtaken=0,
            explained_percent=None,
            unexplained_mean_s=None,
            unexplained_median_s=None,
            unexplained_p99_s=None,
            limit_s=None,
            sticking_out=(),
        )
    measured = [visits[number][1] - visits[number][0] for number in judged]
    residuals = [wait - computed[number] for wait, number in zip(measured, judged, strict=True)]
    ordered = sorted(residuals)
    waited = sum(measured)
    limit = sticking_out_limit(residuals, sigmas=sigmas, at_least=at_least_s * NS_PER_S)
    share = 100 * (1 - sum(map(abs, residuals)) / waited) if waited > 0 else None
    return Explanation(
        n=n,
        left_out=left_out,
        overtaken=_overtaken([start for _, start, _ in visits]),
        explained_percent=share,
        unexplained_mean_s=sum(residuals) / n / NS_PER_S,
        unexplained_median_s=_quantile(ordered, 0.5) / NS_PER_S,
        unexplained_p99_s=_quantile(ordered, 0.99) / NS_PER_S if n >= P99_ITEMS else None,
        limit_s=limit / NS_PER_S,
        sticking_out=tuple(
            sorted(
                queue[number][1]
                for number, residual in zip(judged, residuals, strict=True)
                if residual > limit
            )
        ),
    )


def _overtaken(starts: Sequence[int]) -> int:
    """Return how many items started after one that stood behind them in the queue."""
    count = 0
    earliest: float = math.inf
    for start in reversed(starts):
        count += start > earliest
        earliest = min(earliest, start)
    return count
