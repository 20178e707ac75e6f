"""What a run's rows add up to: counts, the measurement window, and when it began and ended.

The ledger counts the same while the run is under way; here the counts come from the sealed rows alone,
so each can be held against the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.clock import NS_PER_S
from streambench.records import COMPLETED, FAILED, LOST, MEASURE, PUBLISH_FAILED, UNFINISHED, WARMUP

if TYPE_CHECKING:
    import pyarrow

COLUMNS = (
    *('run', 'sequence', 'phase', 'status', 'size_bytes', 'intended_ns', 'send_ns', 'receive_ns'),
    *('complete_ns', 'reordered', 'fault', 'worker_host', 'worker_pid', 'worker_thread'),
)
TEXTS = ('phase', 'status', 'worker_host', 'worker_clock', 'fault', 'error')


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the rows of one run add up to.

    Attributes:
        counts: Counts under their names in results.csv.
        workers_proven: Different workers that ran a warm-up item.
        worker_hosts: Those workers by host, as `HOST:NUMBER`.
        first_intended_ns: First intended send; None without items.
        last_complete_ns: Last completion; None without one.
        window_from_ns: Items due from this instant on count.
        window_n: Items that count.
        window_first_ns: First intended send among those that count.
        window_last_ns: Last completion among them.
        window_completed: Items that completed between the two, those due before the window too: while
            they were worked off, none that counts was.
        window_bytes: Length of their payloads together.
        sojourns_ns: Sum of complete - send over the measured items that have both.
    """

    counts: dict[str, int]
    workers_proven: int
    worker_hosts: str
    first_intended_ns: int | None
    last_complete_ns: int | None
    window_from_ns: int | None
    window_n: int
    window_first_ns: int | None
    window_last_ns: int | None
    window_completed: int
    window_bytes: int
    sojourns_ns: int

    @property
    def makespan_s(self) -> float | None:
        """First intended send of the window to its last completion."""
        if self.window_first_ns is None or self.window_last_ns is None:
            return None
        return (self.window_last_ns - self.window_first_ns) / NS_PER_S


def rows_of(parts: Iterable[Path], run: int, columns: Iterable[str]) -> pyarrow.Table:
    """Return some columns of a run's items, of all phases.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        columns: Their names.
    """
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet

    wanted = list(dict.fromkeys(columns))
    tables = []
    for part in parts:
        # read_table() would make a dataset of the one file, which takes longer than reading it.
        with pyarrow.parquet.ParquetFile(part) as file:
            table = file.read(columns=list({*wanted, 'run'}))
        tables.append(table.filter(compute.equal(table['run'], run)).select(wanted))
    if not tables:
        kinds = {name: pyarrow.string() if name in TEXTS else pyarrow.int64() for name in wanted}
        return pyarrow.table({name: pyarrow.array([], kind) for name, kind in kinds.items()})
    return pyarrow.concat_tables(tables)


def tally(parts: Iterable[Path], *, run: int, warmup_s: float) -> Tally:
    """Add up the rows of a run.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        warmup_s: Time after the first intended send from which on items count.
    """
    import pyarrow.compute as compute

    table = rows_of(parts, run, COLUMNS)
    if not table.num_rows:
        return _nothing()
    warm = table.filter(
        compute.and_(compute.equal(table['phase'], WARMUP), compute.is_valid(table['worker_pid']))
    )
    proven = warm.group_by(['worker_host', 'worker_pid', 'worker_thread']).aggregate([])
    hosts = Counter(proven['worker_host'].to_pylist())
    measured = table.filter(compute.equal(table['phase'], MEASURE))
    first = compute.min(measured['intended_ns']).as_py()
    since = None if first is None else first + round(warmup_s * NS_PER_S)
    window = measured
    if since is not None:
        window = measured.filter(compute.greater_equal(measured['intended_ns'], since))
    finished = measured.filter(compute.equal(measured['status'], COMPLETED))
    window_first = compute.min(window['intended_ns']).as_py()
    window_last = compute.max(
        window.filter(compute.equal(window['status'], COMPLETED))['complete_ns']
    ).as_py()
    done = _between(finished, window_first, window_last)
    whole = compute.subtract(measured['complete_ns'], measured['send_ns'])
    return Tally(
        counts={
            'sent': measured.num_rows,
            'publish_failed': _number(measured, 'status', PUBLISH_FAILED),
            'received': measured.num_rows - measured['receive_ns'].null_count,
            'completed_tasks': _number(measured, 'status', COMPLETED),
            'failed': _number(measured, 'status', FAILED),
            'lost': _number(measured, 'status', LOST),
            'unfinished': _number(measured, 'status', UNFINISHED),
            'reordered': compute.sum(measured['reordered']).as_py() or 0,
            'corrupt': compute.sum(compute.not_equal(measured['fault'], '')).as_py() or 0,
        },
        workers_proven=proven.num_rows,
        worker_hosts=' '.join(f'{host}:{number}' for host, number in sorted(hosts.items())),
        first_intended_ns=first,
        last_complete_ns=compute.max(finished['complete_ns']).as_py(),
        window_from_ns=since,
        window_n=window.num_rows,
        window_first_ns=window_first,
        window_last_ns=window_last,
        window_completed=done.num_rows,
        window_bytes=compute.sum(done['size_bytes']).as_py() or 0,
        sojourns_ns=compute.sum(whole).as_py() or 0,
    )


def _between(finished: pyarrow.Table, first_ns: int | None, last_ns: int | None) -> pyarrow.Table:
    """Return the items that completed between two instants; none if one of these is absent."""
    import pyarrow.compute as compute

    if first_ns is None or last_ns is None:
        return finished.slice(0, 0)
    ends = finished['complete_ns']
    inside = compute.and_(compute.greater(ends, first_ns), compute.less_equal(ends, last_ns))
    return finished.filter(inside)


def _number(table: pyarrow.Table, column: str, value: Any) -> int:
    import pyarrow.compute as compute

    return compute.sum(compute.equal(table[column], value)).as_py() or 0


def _nothing() -> Tally:
    names = ('sent', 'publish_failed', 'received', 'completed_tasks', 'failed', 'lost')
    return Tally(
        counts=dict.fromkeys((*names, 'unfinished', 'reordered', 'corrupt'), 0),
        workers_proven=0,
        worker_hosts='',
        first_intended_ns=None,
        last_complete_ns=None,
        window_from_ns=None,
        window_n=0,
        window_first_ns=None,
        window_last_ns=None,
        window_completed=0,
        window_bytes=0,
        sojourns_ns=0,
    )
