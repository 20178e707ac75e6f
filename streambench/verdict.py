"""Whether to believe a run: `valid`, `caution` or `invalid`, with the reasons and what to do.

Every bound stands here with its default; README's table is derived from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from streambench.errors import EXIT_INTEGRITY, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_RUN

VALID = 'valid'
CAUTION = 'caution'
INVALID = 'invalid'

COMPLETE = 'complete'
STALLED = 'stalled'
ENDED_BY_FAILURE = 'failed'
INTERRUPTED = 'interrupted'


def _bound(default: float, doc: str) -> Any:
    from dataclasses import field

    return field(default=default, metadata={'doc': doc})


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where a caution or an invalid verdict begins."""

    late_caution_s: float = _bound(0.005, 'Median lateness of the generator, caution.')
    late_caution_share: float = _bound(
        0.2, 'The same as a share of the interval; the larger of the two counts.'
    )
    late_invalid_s: float = _bound(0.05, 'Median lateness of the generator, invalid.')
    late_invalid_share: float = _bound(
        1.0, 'The same as a share of the interval; the larger of the two counts.'
    )
    pacing_share: float = _bound(0.1, 'Pacing floor as a share of the interval, caution.')


BOUNDS = Bounds()


def bounds_table() -> list[tuple[str, float, str]]:
    """Return name, default and sentence of every bound."""
    return [
        (entry.name, getattr(BOUNDS, entry.name), entry.metadata['doc']) for entry in fields(Bounds)
    ]


def judge(
    row: Mapping[str, Any], *, asked_workers: int, limited: bool, remarks: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Return the grade of a run and the reasons for it, the gravest first.

    Args:
        row: Columns of results.csv.
        asked_workers: Workers that should have been proven by the warm-up.
        limited: Whether fewer workers than the executor has were stood for by a limit.
        remarks: What the executor says of these figures.
    """
    invalid: list[str] = []
    caution = list(remarks)
    integrity = ', '.join(
        f'{row[name]} {name}' for name in ('lost', 'duplicated', 'corrupt') if row[name]
    )
    if integrity:
        invalid.append(f'integrity: {integrity} of {row["sent"]} items')
    if row['resolved_in_dispatcher']:
        invalid.append(
            f'integrity: {row["resolved_in_dispatcher"]} proxies were resolved by the dispatcher'
        )
    if row['ended'] != COMPLETE:
        invalid.append(f'{row["ended"]}: {row["reason"]}' if row['reason'] else row['ended'])
    if row['failed'] or row['publish_failed']:
        why = f': {row["reason"]}' if row['ended'] == COMPLETE and row['reason'] else ''
        invalid.append(
            f'{row["failed"]} tasks failed, {row["publish_failed"]} items were not published{why}'
        )
    proven = row['workers_proven']
    if proven is not None and proven < asked_workers and not limited:
        invalid.append(
            f'{proven} of {asked_workers} workers ran in the warm-up: look for the others in the '
            "executor's log"
        )
    rate, late = row['offered_rate_per_s'], row['publish_delay_p50_s']
    if rate and late is not None:
        interval = 1 / rate
        if late > max(BOUNDS.late_invalid_s, BOUNDS.late_invalid_share * interval):
            invalid.append(
                f'generator {late * 1e3:.1f} ms late at the median, interval '
                f'{interval * 1e3:.1f} ms: lower the rate, or put the generator on a worker'
            )
        elif late > max(BOUNDS.late_caution_s, BOUNDS.late_caution_share * interval):
            caution.append(
                f'generator {late * 1e3:.1f} ms late at the median, interval {interval * 1e3:.1f} ms'
            )
    floor = row['pacing_floor_s']
    # Those of a burst are to leave in clumps, and a trace's intervals are its own.
    spaced = row['arrival'] in ('', 'constant', 'poisson')
    if rate and floor and spaced and floor * rate > BOUNDS.pacing_share:
        caution.append(
            f'pacing floor {floor * 1e3:.1f} ms is {floor * rate:.0%} of the interval: items leave '
            'in clumps'
        )
    if row['reordered']:
        caution.append(f'{row["reordered"]} items arrived out of order')
    if row['reconnects']:
        caution.append(f'{row["reconnects"]} broker connections were made anew')
    if row['redis_shared']:
        caution.append('broker and store are one Redis: large SETs delay small PUBLISHes')
    grade = INVALID if invalid else CAUTION if caution else VALID
    return grade, [*invalid, *caution]


def exit_codes(row: Mapping[str, Any]) -> set[int]:
    """Return the exit codes that a run's row calls for."""
    codes: set[int] = set()
    if row['ended'] == INTERRUPTED:
        codes.add(EXIT_INTERRUPTED)
    if row['lost'] or row['duplicated'] or row['corrupt'] or row['resolved_in_dispatcher']:
        codes.add(EXIT_INTEGRITY)
    if row['ended'] in (STALLED, ENDED_BY_FAILURE) or row['failed'] or row['publish_failed']:
        codes.add(EXIT_RUN)
    if row['verdict'] == INVALID and not codes:
        codes.add(EXIT_INVALID)
    return codes
