"""What the rows of items must fulfil among themselves, whatever was measured.

Instants that one clock stamped are in the order of an item's way, every sequence number has exactly one
row, and what follows from the schedule, from the window or from the order of arrival follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.arrivals import Traffic
from streambench.clock import NS_PER_S
from streambench.config import WORKER
from streambench.difference import Difference
from streambench.records import (
    COMPLETED,
    FAILED,
    LOST,
    MEASURE,
    PUBLISH_FAILED,
    UNFINISHED,
    WARMUP,
)
from streambench.tally import rows_of

FILE = 'items'
# Of one kind as many are told; the others are only counted.
MOST_TOLD = 5
# A timer of the loop may ring that much too early where there is no timerfd.
EARLY_NS = 2_000_000

GENERATOR = (
    ('intended_ns', 'put_start_ns'),
    ('put_start_ns', 'put_done_ns'),
    ('put_done_ns', 'send_ns'),
    ('send_ns', 'put_done_ns'),
)
# The answer is taken where the dispatcher is, and only if the generator is there too.
ANSWERED = (('send_ns', 'ack_ns'),)
DELIVERED = (('send_ns', 'receive_ns'),)
DISPATCHER = (('receive_ns', 'submit_ns'), ('submit_ns', 'complete_ns'), ('receive_ns', 'complete_ns'))
OUT_AND_BACK = (('submit_ns', 'start_ns'), ('end_ns', 'complete_ns'))
ON_WORKER = (('start_ns', 'resolved_ns'), ('resolved_ns', 'verified_ns'), ('verified_ns', 'end_ns'))

# Which instants a row of each status must have, and which it can't have.
NEEDED: Mapping[str, Sequence[str]] = {
    COMPLETED: (
        *('intended_ns', 'put_start_ns', 'put_done_ns', 'send_ns', 'receive_ns', 'submit_ns'),
        *('start_ns', 'resolved_ns', 'verified_ns', 'end_ns', 'complete_ns', 'worker_host'),
        *('worker_clock', 'worker_pid', 'worker_thread'),
    ),
    FAILED: ('receive_ns',),
    LOST: (),
    PUBLISH_FAILED: ('send_ns',),
    UNFINISHED: (),
}
ABSENT: Mapping[str, Sequence[str]] = {
    UNFINISHED: ('start_ns', 'end_ns', 'complete_ns', 'worker_pid'),
    LOST: ('receive_ns', 'submit_ns', 'start_ns', 'end_ns', 'complete_ns', 'worker_pid'),
    PUBLISH_FAILED: ('receive_ns', 'submit_ns', 'start_ns', 'end_ns', 'complete_ns', 'ack_ns'),
}
FAULTY = {COMPLETED: False, FAILED: True, PUBLISH_FAILED: True, UNFINISHED: False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a run apart from its items.

    Attributes:
        run: Its number.
        generator: `loop` or `worker`.
        warmup_s: Time after the first intended send from which on items count.
        complete: Whether it came to its end, so that nothing may be missing.
        own_clock: Clock domain of the dispatcher.
        pacing_floor_s: Smallest interval of the pacing.
        traffic: When items were to leave and how long they are, if config.toml says so.
        data_size_bytes: Nominal length of a payload.
    """

    run: int
    generator: str
    warmup_s: float
    complete: bool
    own_clock: str
    pacing_floor_s: float | None
    traffic: Traffic | None
    data_size_bytes: int


def item_differences(parts: Sequence[Path], known: Known) -> list[Difference]:
    """Return where the rows of a run break a law.

    Args:
        parts: Parts of items.
        known: What else is known of the run.
    """
    laws: tuple[Callable[[Sequence[Path], Known], Iterable[Difference]], ...] = (
        _sequences,
        _orders,
        _statuses,
        _windows,
        _traffic,
        _reordered,
    )
    found: list[Difference] = []
    for law in laws:
        told: Counter[tuple[str, str]] = Counter()
        for difference in law(parts, known):
            kind = (difference.column, difference.source)
            told[kind] += 1
            if told[kind] <= MOST_TOLD:
                found.append(difference)
        for (column, source), number in told.items():
            if number > MOST_TOLD:
                more = f'{number - MOST_TOLD} more items'
                found.append(_broken(known, column, more, None, source))
    return found


def _broken(known: Known, column: str, stored: Any, recomputed: Any, source: str) -> Difference:
    return Difference(
        file=FILE, run=known.run, column=column, stored=stored, recomputed=recomputed, source=source
    )


def _rows(parts: Sequence[Path], known: Known, *columns: str) -> Iterator[dict[str, Any]]:
    """Yield rows part by part, so that a million of them need no more memory than a part."""
    for part in parts:
        yield from rows_of([part], known.run, ('run', 'phase', 'sequence', *columns)).to_pylist()


def _name(row: Mapping[str, Any]) -> str:
    return f'{row["phase"]} {row["sequence"]}'


def _sequences(parts: Sequence[Path], known: Known) -> Iterable[Difference]:
    """Exactly one row per sequence number, from 0 on."""
    numbers = Counter((row['phase'], row['sequence']) for row in _rows(parts, known))
    for (phase, sequence), times in numbers.items():
        if times > 1:
            yield _broken(known, 'sequence', f'{phase} {sequence}: {times} rows', 1, 'one row per item')
    for phase in {phase for phase, _ in numbers} - {WARMUP, MEASURE}:
        yield _broken(known, 'phase', phase, f'{WARMUP} or {MEASURE}', 'the schema')
    if not known.complete:
        return
    for phase in (WARMUP, MEASURE):
        there = {sequence for kind, sequence in numbers if kind == phase}
        # As many as there are rows, else one that was moved far away would leave a billion gaps.
        for sequence in sorted(set(range(len(there))) - there):
            yield _broken(known, 'sequence', None, f'{phase} {sequence}', 'every item has a row')
        for sequence in sorted(there):
            if not 0 <= sequence < len(there):
                yield _broken(
                    known, 'sequence', f'{phase} {sequence}', f'0 to {len(there) - 1}', 'no gap'
                )


def _orders(parts: Sequence[Path], known: Known) -> Iterable[Difference]:
    """Instants of one clock follow each other as on the item's way."""
    pairs = (*GENERATOR, *ANSWERED, *DELIVERED, *DISPATCHER, *OUT_AND_BACK, *ON_WORKER)
    names = dict.fromkeys(name for pair in pairs for name in pair)
    clocks = {row['worker_clock'] for row in _rows(parts, known, 'worker_clock')}
    foreign = bool(clocks - {None, known.own_clock})
    apart = known.generator == WORKER and foreign
    timed = known.pacing_floor_s is not None and known.pacing_floor_s < EARLY_NS / NS_PER_S / 4
    for row in _rows(parts, known, *names, 'worker_clock', 'loop_wait_ns'):
        here = row['worker_clock'] in (None, known.own_clock)
        for earlier, later in (
            *GENERATOR,
            *(() if apart else ANSWERED),
            *(() if apart else DELIVERED),
            *DISPATCHER,
            *(OUT_AND_BACK if here else ()),
            *ON_WORKER,
        ):
            first, second = row[earlier], row[later]
            if first is None or second is None:
                continue
            if earlier == 'intended_ns' and not timed:
                first -= EARLY_NS
            if second < first:
                yield _broken(
                    known,
                    later,
                    f'{_name(row)}: {row[later]}',
                    f'at least {earlier}, {row[earlier]}',
                    'the order of instants',
                )
        waited = row['loop_wait_ns']
        whole = _between(row, 'intended_ns', 'complete_ns')
        if waited is not None and not 0 <= waited <= max(0, whole or 0):
            yield _broken(
                known,
                'loop_wait_ns',
                f'{_name(row)}: {waited}',
                f'0 to {whole}',
                'part of the sojourn',
            )


def _between(row: Mapping[str, Any], begin: str, end: str) -> int | None:
    if row[begin] is None or row[end] is None:
        return None
    return int(row[end] - row[begin])


def _statuses(parts: Sequence[Path], known: Known) -> Iterable[Difference]:
    """A row has the instants of its status and no others."""
    names = dict.fromkeys(name for entry in (*NEEDED.values(), *ABSENT.values()) for name in entry)
    for row in _rows(parts, known, 'status', 'error', *names):
        status = row['status']
        if status not in NEEDED:
            yield _broken(known, 'status', f'{_name(row)}: {status}', ' or '.join(NEEDED), 'the schema')
            continue
        for names_of, there in ((NEEDED[status], True), (ABSENT.get(status, ()), False)):
            for name in names_of:
                if (row[name] is not None) is not there:
                    what = 'an instant' if there else 'nothing'
                    yield _broken(
                        known, name, f'{_name(row)}: {row[name]}', what, f'its status, {status}'
                    )
        if status in FAULTY and bool(row['error']) is not FAULTY[status]:
            what = 'a reason' if FAULTY[status] else 'nothing'
            yield _broken(
                known, 'error', f'{_name(row)}: {row["error"]}', what, f'its status, {status}'
            )


def _windows(parts: Sequence[Path], known: Known) -> Iterable[Difference]:
    """`in_window` follows from the intended instant and the warm-up."""
    due = (
        row['intended_ns']
        for row in _rows(parts, known, 'intended_ns')
        if row['phase'] == MEASURE and row['intended_ns'] is not None
    )
    since = min(due, default=0) + round(known.warmup_s * NS_PER_S)
    for row in _rows(parts, known, 'intended_ns', 'in_window'):
        instant = row['intended_ns']
        inside = row['phase'] == MEASURE and instant is not None and instant >= since
        if row['in_window'] is not inside:
            yield _broken(
                known,
                'in_window',
                f'{_name(row)}: {row["in_window"]}',
                inside,
                f'warmup_s, {known.warmup_s:g}',
            )


def _traffic(parts: Sequence[Path], known: Known) -> Iterable[Difference]:
    """Intended instants and sizes are those of the seeded schedule."""
    if known.traffic is None:
        return
    sizes, arrivals = known.traffic.sizes, known.traffic.arrivals
    for row in _rows(parts, known, 'size_bytes'):
        size = known.data_size_bytes if row['phase'] == WARMUP else sizes[max(0, row['sequence'])]
        if row['size_bytes'] != size:
            yield _broken(
                known, 'size_bytes', f'{_name(row)}: {row["size_bytes"]}', size, 'config.toml'
            )
    if arrivals is None:
        return
    offsets = arrivals.offsets_ns

    def timed() -> Iterator[tuple[dict[str, Any], int]]:
        for row in _rows(parts, known, 'intended_ns'):
            scheduled = row['phase'] == MEASURE and 0 <= row['sequence'] < len(offsets)
            if scheduled and row['intended_ns'] is not None:
                yield row, row['intended_ns'] - offsets[row['sequence']]

    begins = Counter(begin for _, begin in timed())
    start = max(begins, key=begins.__getitem__, default=0)
    for row, begin in timed():
        if begin != start:
            yield _broken(
                known,
                'intended_ns',
                f'{_name(row)}: {row["intended_ns"]}',
                start + offsets[row['sequence']],
                'the schedule of config.toml',
            )


def _reordered(parts: Sequence[Path], known: Known) -> Iterable[Difference]:
    """An item is reordered exactly if a later one had been received before it."""
    for phase in (WARMUP, MEASURE):
        received = sorted(
            (row['receive_ns'], row['sequence'], row['reordered'])
            for row in _rows(parts, known, 'receive_ns', 'reordered')
            if row['phase'] == phase and row['receive_ns'] is not None
        )
        highest = -1
        for _, sequence, said in received:
            late = sequence < highest
            highest = max(highest, sequence)
            if said is not late:
                yield _broken(
                    known,
                    'reordered',
                    f'{phase} {sequence}: {said}',
                    late,
                    'the order of receive_ns',
                )
