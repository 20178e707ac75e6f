"""What the per-second series must fulfil: with itself, with the items, and with the row of the run.

On the loop a counter moves in the step that stamps the instant, so what stood at an instant follows
from the items exactly, but for what a bridge's thread or a waiting reader holds for a moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.clock import NS_PER_S
from streambench.config import WORKER
from streambench.difference import Difference
from streambench.records import COMPLETED, MEASURE
from streambench.tally import rows_of

if TYPE_CHECKING:
    import pyarrow

FILE = 'series'
GROWING = ('at_ns', 'sent', 'received', 'submitted', 'completed', 'backpressure_s')
FINAL = {'sent': 'sent', 'received': 'received', 'completed': 'completed_tasks'}
LEVELS = (
    'sent',
    'received',
    'submitted',
    'completed',
    'backlog',
    'queue_depth',
    'queue_bytes',
    'in_flight',
)
# Clocks of the process and of the pause between two readings differ by less.
SLACK_S = 1e-3


class _Instants:
    """How many of the items had come to an instant of theirs; sorted once, asked often."""

    def __init__(self, table: pyarrow.Table) -> None:
        import pyarrow.compute as compute

        measured = table.filter(compute.equal(table['phase'], MEASURE))
        done = measured.filter(compute.equal(measured['status'], COMPLETED))
        self.sent = _sorted(measured['send_ns'])
        self.received = _sorted(measured['receive_ns'])
        self.completed = _sorted(done['complete_ns'])
        self.all_received = _sorted(table['receive_ns'])
        self.all_submitted = _sorted(table['submit_ns'])
        self.all_ended = _sorted(table['complete_ns'])
        self.ended = _sorted(measured['complete_ns'])
        # Given up at the end of the run, when the last row was made.
        self.given_up = measured['complete_ns'].null_count


def _sorted(column: pyarrow.ChunkedArray) -> list[int]:
    return sorted(column.drop_null().to_pylist())


def series_differences(
    states: Sequence[Mapping[str, Any]],
    parts: Sequence[Path],
    row: Mapping[str, Any],
    *,
    recorded: bool,
) -> list[Difference]:
    """Return where the series of a run breaks a law.

    Args:
        states: Its rows in the order of their instants.
        parts: Parts of items.
        row: The row of the run, recomputed as far as can be.
        recorded: Whether items were kept.
    """
    found = [*_alone(states, row)]
    if not states:
        return found
    # Counters are final in the last row.
    for name, column in FINAL.items():
        if states[-1][name] != row[column]:
            found.append(_broken(row, name, states[-1], row[column], f'{column} of the run'))
    if recorded:
        columns = ('run', 'phase', 'status', 'send_ns', 'receive_ns', 'submit_ns', 'complete_ns')
        instants = _Instants(rows_of(parts, row['run'], columns))
        for number, state in enumerate(states):
            found += _with_items(state, instants, row, last=number + 1 == len(states))
    unique: dict[tuple[str, Any], Difference] = {}
    for entry in found:
        unique.setdefault((entry.column, entry.stored), entry)
    return list(unique.values())


def _broken(
    row: Mapping[str, Any], name: str, state: Mapping[str, Any], recomputed: Any, source: str
) -> Difference:
    return Difference(
        file=FILE,
        run=row['run'],
        column=name,
        stored=f'at {state["at_ns"]}: {state[name]}',
        recomputed=recomputed,
        source=source,
    )


def _alone(states: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> Iterable[Difference]:
    """Counters only grow, levels are not negative, and nobody stood still for longer than there was."""
    for state in states:
        for name in LEVELS:
            if state[name] < 0:
                yield _broken(row, name, state, 'at least 0', 'a count')
        if (state['credits'] is not None) is not bool(row['closed_loop']):
            what = 'a number' if row['closed_loop'] else None
            yield _broken(row, 'credits', state, what, 'closed_loop of the run')
        if (state['queue_bytes'] > 0) is not (state['queue_depth'] > 0):
            held = 'above 0' if state['queue_depth'] > 0 else 0
            yield _broken(row, 'queue_bytes', state, held, 'queue_depth')
    for before, after in pairwise(states):
        for name in GROWING:
            if after[name] < before[name]:
                yield _broken(row, name, after, f'at least {before[name]}', 'a counter only grows')
        passed_s = (after['at_ns'] - before['at_ns']) / NS_PER_S
        if after['backpressure_s'] - before['backpressure_s'] > passed_s + SLACK_S:
            most = before['backpressure_s'] + passed_s
            yield _broken(row, 'backpressure_s', after, f'at most {most:.6f}', 'the time that passed')


def _with_items(
    state: Mapping[str, Any], instants: _Instants, row: Mapping[str, Any], *, last: bool
) -> Iterable[Difference]:
    """Return where a row differs from what the items say of its instant."""
    at_ns = state['at_ns']

    def until(sorted_ns: Sequence[int]) -> int:
        return bisect_right(sorted_ns, at_ns)

    here = row['generator'] != WORKER
    counts = {'received': until(instants.received), 'completed': until(instants.completed)}
    if here:
        counts['sent'] = until(instants.sent)
    for name, number in counts.items():
        if state[name] != number:
            yield _broken(row, name, state, number, 'the instants of the items')
    gone = row['lost'] + row['publish_failed']
    steady = here and not gone and not row['reconnects']
    if steady or last:
        level = max(0, state['sent'] - state['received'] - gone)
        if state['backlog'] != level:
            yield _broken(row, 'backlog', state, level, 'sent and received')
    elif state['backlog'] > max(0, state['sent'] - state['received']):
        yield _broken(row, 'backlog', state, 'at most sent - received', 'sent and received')
    received, ended = until(instants.all_received), until(instants.all_ended)
    flying = state['submitted'] - ended
    # One item more is in the hands of the reader while it waits for room.
    waiting = range(received - state['submitted'] - 1, received - state['submitted'] + 1)
    if state['in_flight'] != flying and state['queue_depth'] not in waiting:
        yield _broken(row, 'submitted', state, state['in_flight'] + ended, 'in_flight and the items')
    elif state['in_flight'] != flying:
        yield _broken(row, 'in_flight', state, flying, 'submitted and the items')
    elif state['queue_depth'] not in waiting:
        yield _broken(row, 'queue_depth', state, waiting[-1], 'submitted and the items')
    elif not until(instants.all_submitted) <= state['submitted'] <= received:
        yield _broken(row, 'submitted', state, until(instants.all_submitted), 'the items')
    if state['credits'] is not None and steady and row['max_outstanding'] is not None:
        free = row['max_outstanding'] - until(instants.sent) + until(instants.ended)
        free += instants.given_up if last else 0
        # One more is taken while its item is made.
        if state['credits'] not in (free - 1, free):
            yield _broken(row, 'credits', state, free, 'max_outstanding and the items')
