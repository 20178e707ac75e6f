"""Waiting for a worker: what queueing theory explains of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streambench.bounds import BOUNDS, Bounds
from streambench.clock import clock_domain
from streambench.oracle import explain
from streambench.records import MEASURE
from streambench.tally import rows_of

EXPLAINED_ITEMS = 200_000
SHOWN_ITEMS = 20


def waiting_figures(
    parts: Sequence[Path],
    run: int,
    servers: int,
    *,
    since_ns: int | None = None,
    own_clock: str | None = None,
    bounds: Bounds = BOUNDS,
) -> dict[str, Any]:
    """Return how much of the waiting queueing theory explains, of workers on the dispatcher's clock.

    Items before the window are fed to the recursion all the same, since those in it waited for them.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        servers: Workers that compute.
        since_ns: Items due from this instant on count; all if absent.
        own_clock: Clock domain of the dispatcher; this machine's if absent.
        bounds: From where on an item sticks out.
    """
    import pyarrow.compute as compute

    names = (
        'run',
        'phase',
        'sequence',
        'intended_ns',
        'receive_ns',
        'start_ns',
        'end_ns',
        'worker_clock',
    )
    table = rows_of(parts, run, names)
    if not table.num_rows or table.num_rows > EXPLAINED_ITEMS:
        return {}
    table = table.filter(compute.equal(table['phase'], MEASURE))
    columns = {name: table[name].to_pylist() for name in names[2:]}
    own = clock_domain() if own_clock is None else own_clock
    if set(columns['worker_clock']) - {None, own}:
        # Another host's clock would be mistaken for waiting.
        return {}
    visits = list(
        zip(*(columns[name] for name in ('sequence', 'receive_ns', 'start_ns', 'end_ns')), strict=True)
    )
    if not visits:
        return {}
    due = columns['intended_ns']
    counted = {
        sequence
        for sequence, instant in zip(columns['sequence'], due, strict=True)
        if since_ns is None or (instant is not None and instant >= since_ns)
    }
    found = explain(
        visits,
        servers,
        sigmas=bounds.sticks_out_sigmas,
        at_least_s=bounds.sticks_out_s,
        counted=None if len(counted) == len(visits) else counted,
    )
    return {
        'waiting_explained_percent': found.explained_percent,
        'waiting_unexplained_p50_s': found.unexplained_median_s,
        'waiting_unexplained_p99_s': found.unexplained_p99_s,
        'waiting_sticks_out': ' '.join(map(str, found.sticking_out[:SHOWN_ITEMS])),
    }
