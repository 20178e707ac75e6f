"""The figures of a run directory again, for another measurement window, without measuring again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.arrivals import Traffic
from streambench.bounds import Bounds
from streambench.clock import NS_PER_S
from streambench.config import RECORD_NONE
from streambench.errors import ConfigError
from streambench.packing import Row
from streambench.records import COMPLETED, MEASURE, SeriesRow, column_names
from streambench.run_directory import RunDirectory
from streambench.run_row import BLANK, determined, judged
from streambench.run_spec import RunSpec
from streambench.stages import stage_columns
from streambench.summary import Estimate, estimate
from streambench.tally import Tally, rows_of
from streambench.verdict import INTERRUPTED

# Of these there is at least one of each, whatever a file says.
DIVISORS = ('compute_workers', 'generators')
KILLED = 'the process was killed before it could write the row of this run'
# Eleven days; nobody reads a row for each second of more.
MOST_SECONDS = 10**6
SECOND_QUANTILES = (0.5, 0.95, 0.99)
# The columns of results.csv that items determine.
ITEM_COLUMNS = frozenset(
    {
        *(name for name, _, _ in stage_columns()),
        *('sent', 'publish_failed', 'received', 'completed_tasks', 'failed', 'lost', 'reordered'),
        *(
            'corrupt',
            'workers_proven',
            'worker_hosts',
            'window_n',
            'makespan_s',
            'ideal_makespan_s',
            'efficiency',
            'sojourn_min_s',
        ),
        *('throughput_per_s', 'bytes_per_s', 'sojourn_growth_s', 'delivery_growth_s'),
        *('demand_put_s', 'demand_workers_s', 'clock_bound_s', 'waiting_explained_percent'),
        *('waiting_unexplained_p50_s', 'waiting_unexplained_p99_s', 'waiting_sticks_out'),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """The figures of one run, computed again.

    Attributes:
        run: Its number in the plan.
        row: Columns of results.csv.
        rows: Items of the measurement that are there.
        inside: Those of them that are due in the window.
        missing: Items that were sent for certain and have no row.
        kept: Whether its items were to be kept; if not, its row is as it stands.
        first_intended_ns: First intended send; None without items.
        recovered: Whether the run has no row in the files.
    """

    run: int
    row: Mapping[str, Any]
    rows: int
    inside: int
    missing: int
    kept: bool
    first_intended_ns: int | None
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One second of a run, counted from its first intended send.

    Attributes:
        run: Number of the run.
        second: Number of the second, from 0.
        state: Last row of the series in it, or None if there is none.
        completed: Items that completed in it.
        due: Items that were due in it and completed.
        sojourns: Percentiles of their sojourn, as many as they carry.
    """

    run: int
    second: int
    state: Mapping[str, Any] | None
    completed: int
    due: int
    sojourns: tuple[Estimate | None, ...]


def runs_of(directory: RunDirectory) -> list[int]:
    """Return the numbers of all runs of which there is anything, ascending."""
    found: set[int] = set()
    for stored in (directory.results, directory.summary):
        found |= {row['run'] for row in stored.rows if isinstance(row.get('run'), int)}
    return sorted(found | directory.kept)


def figures_again(
    parts: Sequence[Path], asked: Mapping[str, Any], *, own_clock: str | None, bounds: Bounds
) -> tuple[dict[str, Any], Tally] | None:
    """Return what items determine, or None if they contradict each other too much for that.

    Args:
        parts: Parts of items.
        asked: Columns that say what was asked.
        own_clock: Clock domain of the dispatcher; this machine's if absent.
        bounds: What some figures must exceed.
    """
    import pyarrow

    if unusable(asked):
        return None
    try:
        return determined(parts, asked, own_clock=own_clock, bounds=bounds)
    except (pyarrow.ArrowException, TypeError, ValueError, IndexError):
        # Only rows that somebody edited lack an instant that their status says they have.
        return None


def unusable(asked: Mapping[str, Any]) -> list[str]:
    """Return the columns without which no figure follows and that hold no number for it."""
    return [name for name in DIVISORS if asked[name] < 1]


def resolved_count(spec: RunSpec, sent: int, traffic: Traffic | None = None) -> int:
    """Return how many items a run was asked for, where its duration says so too.

    Args:
        spec: What was asked.
        sent: Items that were sent.
        traffic: What it sends, if that was drawn already.
    """
    if spec.config.duration is None:
        return spec.config.task_count
    arrivals = None if spec.endless else (traffic or spec.traffic()).arrivals
    return sent if arrivals is None else arrivals.count


def recount(directory: RunDirectory, run: int, *, warmup_s: float | None = None) -> Recount | None:
    """Return the figures of a run, or None if nobody knows what was asked of it or came of it.

    Args:
        directory: What was found.
        run: Number of the run.
        warmup_s: Time after the first intended send from which on items count; as it was if absent.

    Raises:
        ConfigError: If its items contradict each other.
    """
    stored = directory.results.of(run) or directory.summary.of(run)
    spec = directory.spec(run)
    sequences = rows_of(directory.items_of(run), run, ('run', 'phase', 'sequence'))
    sent = _sent(sequences)
    if stored is not None:
        # A cell that can't be read is as good as absent.
        asked = BLANK | {name: value for name, value in stored.items() if _readable(name, value)}
        if unusable(asked) and spec is not None:
            asked |= {name: spec.columns()[name] for name in DIVISORS}
    elif spec is not None:
        asked = BLANK | spec.columns() | {'loop': spec.config.loop}
        asked |= {
            'task_count': resolved_count(spec, len(sent)),
            'ended': INTERRUPTED,
            'reason': KILLED,
        }
    else:
        return None
    if unusable(asked):
        return None
    if asked['record'] == RECORD_NONE:
        return _as_it_stands(directory, run, asked) if stored is not None else None
    if warmup_s is not None:
        asked['warmup_s'] = warmup_s
    again = figures_again(
        directory.items_of(run), asked, own_clock=directory.own_clock, bounds=directory.bounds(run)
    )
    if again is None:
        raise _contradiction(directory, run)
    row, found = again
    known = asked | {name: BLANK[name] for name in ITEM_COLUMNS} | row
    counted = max((state['sent'] for state in states(directory, run)), default=0)
    return Recount(
        run=run,
        row=judged(known, bounds=directory.bounds(run), thresholds=directory.thresholds(run)),
        rows=found.counts['sent'],
        inside=found.window_n,
        missing=max(0, max([counted, *(sequence + 1 for sequence in sent)]) - len(sent)),
        kept=True,
        first_intended_ns=found.first_intended_ns,
        recovered=stored is None,
    )


def _contradiction(directory: RunDirectory, run: int) -> ConfigError:
    return ConfigError(
        f'the items of run {run + 1} in {str(directory.path)!r} contradict each other; '
        '`streambench check` says where.'
    )


def _as_it_stands(directory: RunDirectory, run: int, row: Mapping[str, Any]) -> Recount:
    """Return a run without items, whose figures nothing else tells than its row."""
    return Recount(
        run=run,
        row=judged(row, bounds=directory.bounds(run), thresholds=directory.thresholds(run)),
        rows=0,
        inside=0,
        missing=0,
        kept=False,
        first_intended_ns=None,
        recovered=False,
    )


def _readable(name: str, value: Any) -> bool:
    return name in BLANK and isinstance(value, int | float | str | None)


def _sent(table: Any) -> set[int]:
    import pyarrow.compute as compute

    return set(table.filter(compute.equal(table['phase'], MEASURE))['sequence'].to_pylist())


def states(directory: RunDirectory, run: int) -> list[dict[str, Any]]:
    """Return the series of a run in the order of its instants."""
    return sorted(rows_again(directory.series, run, SeriesRow), key=lambda row: row['at_ns'])


def rows_again(
    parts: Mapping[Path, frozenset[int]], run: int, record: type[Row]
) -> list[dict[str, Any]]:
    """Return the rows of a run as they were written.

    Args:
        parts: Parts of one kind of row, with the runs in each.
        run: Number of the run.
        record: Class of the rows.
    """
    its = [part for part, runs in parts.items() if run in runs]
    found: list[dict[str, Any]] = rows_of(its, run, column_names(record)).to_pylist()
    return found


def seconds_of(directory: RunDirectory, found: Recount) -> list[Second]:
    """Return a run second by second, from its first intended send.

    Args:
        directory: What was found.
        found: The run.

    Raises:
        ConfigError: If an instant lies far away from the others.
    """
    first = found.first_intended_ns
    if first is None:
        return []
    state_of = {}
    for state in states(directory, found.run):
        state_of[(state['at_ns'] - first) // NS_PER_S] = state
    columns = ('run', 'phase', 'status', 'intended_ns', 'complete_ns')
    due: dict[int, list[float]] = defaultdict(list)
    completed: dict[int, int] = defaultdict(int)
    for item in rows_of(directory.items_of(found.run), found.run, columns).to_pylist():
        if item['phase'] == MEASURE and item['status'] == COMPLETED:
            since = item['intended_ns'] - first
            due[since // NS_PER_S].append((item['complete_ns'] - item['intended_ns']) / NS_PER_S)
            completed[(item['complete_ns'] - first) // NS_PER_S] += 1
    last = max([number for number in {*state_of, *due, *completed} if number >= 0], default=-1)
    if last > MOST_SECONDS:
        raise _contradiction(directory, found.run)
    return [
        Second(
            run=found.run,
            second=number,
            state=state_of.get(number),
            completed=completed[number],
            due=len(due[number]),
            sojourns=tuple(estimate(due[number], quantile) for quantile in SECOND_QUANTILES)
            if due[number]
            else (None,) * len(SECOND_QUANTILES),
        )
        for number in range(last + 1)
    ]
