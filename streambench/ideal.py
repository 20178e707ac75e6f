"""The ideal makespan: what a queue without any overhead would have taken for the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streambench.clock import NS_PER_S


def ideal_makespan_s(
    offsets_ns: Sequence[int] | None,
    *,
    count: int,
    task_sleep: float,
    compute_workers: int,
    since_ns: int = 0,
) -> float | None:
    """Return the makespan of a queue without overhead, fed the same arrivals; None for sleep 0.

    The recursion of Kiefer and Wolfowitz (1955) for c servers: each item starts at its arrival or
    when the first server is free; with equal service times that is the end of the c-th item before
    it. The makespan begins at the first arrival that counts. Without a schedule all items are there at
    the start.

    Args:
        offsets_ns: Intended instants of all items in their order, or None for a closed loop.
        count: Items that count, for a closed loop.
        task_sleep: Nominal time of a task.
        compute_workers: Servers.
        since_ns: Items due from this instant on count; those before them are served all the same.
    """
    if not task_sleep:
        return None
    if offsets_ns is None:
        return math.ceil(count / compute_workers) * task_sleep if count else None
    service_ns = round(task_sleep * NS_PER_S)
    ends = [0] * compute_workers
    end = 0
    begin: int | None = None
    for number, arrival_ns in enumerate(offsets_ns):
        server = number % compute_workers
        # Not before time began, on whatever clock the arrivals are.
        free_ns = ends[server] if number >= compute_workers else arrival_ns
        end = ends[server] = max(arrival_ns, free_ns) + service_ns
        if begin is None and arrival_ns >= since_ns:
            begin = arrival_ns
    return None if begin is None else (end - begin) / NS_PER_S
