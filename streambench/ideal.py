"""The ideal makespan: what a queue without any overhead would have taken for the same items."""

from __future__ import annotations

from collections.abc import Sequence

from streambench.clock import NS_PER_S


def ideal_makespan_s(
    offsets_ns: Sequence[int], *, task_sleep: float, compute_workers: int, since_ns: int = 0
) -> float | None:
    """Return the makespan of a queue without overhead, fed the same arrivals; None for sleep 0.

    The recursion of Kiefer and Wolfowitz (1955) for c servers: each item starts at its arrival or
    when the first server is free; with equal service times that is the end of the c-th item before
    it. The makespan begins at the first arrival that counts.

    Args:
        offsets_ns: Intended instants of all items in their order.
        task_sleep: Nominal time of a task.
        compute_workers: Servers.
        since_ns: Items due from this instant on count; those before them are served all the same.
    """
    if not task_sleep:
        return None
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


def ideal_working_off_s(
    items: int, *, left_s: Sequence[float] = (), task_sleep: float, compute_workers: int
) -> float | None:
    """Return how long servers that are never idle work on a closed loop; None for sleep 0.

    Its items have no schedule, so all are there at the start, and a server takes the next one as soon
    as it is free.

    Args:
        items: Those that no server has begun yet.
        left_s: What is left of the tasks that servers are at, from `task_sleep` to 0.
        task_sleep: Nominal time of a task.
        compute_workers: Servers.
    """
    if not task_sleep or not (items or left_s):
        return None
    free_s = sorted(left_s)[-compute_workers:]
    free_s = [0.0] * (compute_workers - len(free_s)) + free_s
    rounds, more = divmod(items, compute_workers)
    # Since nothing left is longer than a task, servers go on in the order in which they are free.
    return max(left + (rounds + (server < more)) * task_sleep for server, left in enumerate(free_s))
