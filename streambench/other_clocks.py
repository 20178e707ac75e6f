"""Clocks of other hosts over a run: how they drifted since their instants were shifted, from its rows.

A row's instants are on the dispatcher's clock, shifted by the one offset that was known when the run
began. What the clock has gone wrong since then shows in the tasks themselves: the line that they and
that offset allow is taken off the stages that cross hosts, and its width says how sure they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.clock import NS_PER_S, clock_domain
from streambench.clocks import Clock, Reading, fit
from streambench.records import COMPLETED, MEASURE
from streambench.tally import rows_of

if TYPE_CHECKING:
    import pyarrow

# More would take seconds; any of them bound the clock.
FITTED_ITEMS = 200_000
INSTANTS = ('submit_ns', 'start_ns', 'end_ns', 'complete_ns')
ON_WORKER = frozenset({'start_ns', 'resolved_ns', 'verified_ns', 'end_ns'})


def other_clocks(
    parts: Sequence[Path], run: int, *, own_clock: str | None, shift_bound_s: float | None
) -> Mapping[str, Clock]:
    """Return the clocks of other hosts; none on one clock, and where one was set during the run.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        own_clock: Clock domain of the dispatcher; this machine's if absent.
        shift_bound_s: How well their offsets were known when the run began.
    """
    import pyarrow.compute as compute

    own = clock_domain() if own_clock is None else own_clock
    domains = {*compute.unique(rows_of(parts, run, ('worker_clock',))['worker_clock']).to_pylist()}
    if not domains - {None, own}:
        return {}
    table = rows_of(parts, run, ('phase', 'status', 'worker_clock', *INSTANTS))
    table = table.filter(
        compute.and_(compute.equal(table['phase'], MEASURE), compute.equal(table['status'], COMPLETED))
    )
    table = table.take(list(range(0, table.num_rows, 1 + table.num_rows // FITTED_ITEMS)))
    found: dict[str, Clock] = {}
    for domain in domains - {None, own}:
        its = table.filter(compute.equal(table['worker_clock'], domain))
        readings: list[Reading] = list(zip(*(its[name].to_pylist() for name in INSTANTS), strict=True))
        if readings and shift_bound_s is not None:
            # As a task would, which took no time on its worker.
            first, half = compute.min(its['start_ns']).as_py(), round(shift_bound_s * NS_PER_S / 2)
            readings.append((first - half, first, first, first + half))
        clock = fit(readings)
        if clock is None:
            continue
        if clock.widest_ns is None:
            return {}
        found[domain] = clock
    return found


def bound_s(clocks: Mapping[str, Clock]) -> float | None:
    """Return the width of the widest bound; None on one clock."""
    widths = [clock.widest_ns for clock in clocks.values() if clock.widest_ns is not None]
    return max(widths) / NS_PER_S if widths else None


def ahead_ns(
    table: pyarrow.Table, instant: str, clocks: Mapping[str, Clock]
) -> pyarrow.ChunkedArray | float:
    """Return by how much the clock of each row's worker was ahead at one of its instants.

    Args:
        table: Items.
        instant: Name of the instant.
        clocks: Those of other hosts.
    """
    import pyarrow.compute as compute

    found: pyarrow.ChunkedArray | float = 0.0
    for domain, clock in clocks.items() if instant in ON_WORKER else ():
        since = compute.subtract(table[instant], clock.origin_ns).cast('float64')
        offset = compute.add(compute.multiply(since, clock.rate), clock.base_ns + clock.fraction_ns)
        found = compute.if_else(compute.equal(table['worker_clock'], domain), offset, found)
    return found
