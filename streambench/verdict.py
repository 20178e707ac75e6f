"""Whether to believe a run: `valid`, `caution` or `invalid`, with the reasons and what to do.

Where a grade begins stands in `bounds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streambench.bounds import BOUNDS, Bounds
from streambench.errors import (
    EXIT_INTEGRITY,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_RUN,
    EXIT_THRESHOLD,
    AbortError,
    StallError,
)
from streambench.stations import too_short, window_gain

VALID = 'valid'
CAUTION = 'caution'
INVALID = 'invalid'
# The gravest last.
GRADES = (VALID, CAUTION, INVALID)

COMPLETE = 'complete'
STALLED = 'stalled'
ENDED_BY_FAILURE = 'failed'
INTERRUPTED = 'interrupted'
ABORTED = 'aborted'

HOW_HELD = {
    'callback': 'by a callback',
    'gc': 'by garbage collection',
    'gil': 'by another thread that had the GIL',
    'cpu-starved': 'for want of a core',
    'unattributed': 'by nobody known',
}


def culprit_words(culprit: str) -> str:
    """Return what held the loop for longest, as a person says it.

    Args:
        culprit: Cause and place, as the column `loop_culprit` has them.
    """
    cause, _, place = culprit.partition(': ')
    return HOW_HELD.get(cause, f'by {cause}') + (f', {place}' if place else '')


def ended_by(error: Exception) -> str:
    """Return how a run ended that an error has ended."""
    if isinstance(error, StallError):
        return STALLED
    return ABORTED if isinstance(error, AbortError) else ENDED_BY_FAILURE


def judge(row: Mapping[str, Any], *, bounds: Bounds = BOUNDS) -> tuple[str, list[str]]:
    """Return the grade of a run and the reasons for it, the gravest first.

    Args:
        row: Columns of results.csv.
        bounds: Where a grade begins.
    """
    invalid: list[str] = []
    caution = [row['remarks']] if row['remarks'] else []
    integrity = ', '.join(
        f'{row[name]} {name}' for name in ('lost', 'duplicated', 'corrupt') if row[name]
    )
    if integrity:
        invalid.append(
            f'integrity: {integrity} of {row["sent"]} items: items/ says which, the logs of broker and '
            'executor may say why'
        )
    if row['resolved_in_dispatcher']:
        invalid.append(
            f'integrity: {row["resolved_in_dispatcher"]} proxies were resolved by the dispatcher: take '
            'another executor, this one runs tasks in the process that submits them'
        )
    if row['ended'] != COMPLETE:
        # It is a sentence, and becomes one of several reasons.
        told = row['reason'].rstrip('.')
        invalid.append(f'{row["ended"]}: {told}' if told else row['ended'])
    if row['failed'] or row['publish_failed']:
        told = row['reason'] if row['ended'] == COMPLETE else ''
        why = f': {told or "items/ has the error of each"}'
        failed, unsent = row['failed'], row['publish_failed']
        counts = (
            (failed, 'task failed' if failed == 1 else 'tasks failed'),
            (unsent, 'item was not published' if unsent == 1 else 'items were not published'),
        )
        invalid.append(', '.join(f'{number} {text}' for number, text in counts if number) + why)
    proven = row['workers_proven']
    # With `worker` the generator takes one of the executor's workers.
    asked = row['workers'] if row['generator'] == 'worker' else row['compute_workers']
    if proven is not None and proven < asked and row['slots'] is None:
        invalid.append(
            f"{proven} of {asked} workers ran in the warm-up: look for the others in the executor's log"
        )
    rate, late = row['offered_rate_per_s'], row['publish_delay_p50_s']
    if rate and late is not None:
        interval = 1 / rate
        if late > max(bounds.late_invalid_s, bounds.late_invalid_share * interval):
            invalid.append(
                f'generator {late * 1e3:.1f} ms late at the median, interval '
                f'{interval * 1e3:.1f} ms: lower the rate, or put the generator on a worker'
            )
        elif late > max(bounds.late_caution_s, bounds.late_caution_share * interval):
            caution.append(
                f'generator {late * 1e3:.1f} ms late at the median, interval {interval * 1e3:.1f} ms: '
                'lower the rate, or put the generator on a worker'
            )
    floor = row['pacing_floor_s']
    # Those of a burst are to leave in clumps, and a trace's intervals are its own.
    spaced = row['arrival'] in ('', 'constant', 'poisson')
    if rate and floor and spaced and floor * rate > bounds.pacing_share:
        caution.append(
            f'pacing floor {floor * 1e3:.1f} ms is {floor * rate:.0%} of the interval: items leave '
            'in clumps: lower the rate, or share the items among --generators on workers'
        )
    if row['bookkeeping_difference'] is not None:
        off = abs(row['bookkeeping_difference'])
        if off > bounds.bookkeeping:
            invalid.append(
                f'bookkeeping: live counters and rows differ by {off:.2%}, rows are missing or wrong: '
                '`streambench check` may say which; report it'
            )
    if row['demand_loop_s'] and row['throughput_per_s']:
        busy = row['demand_loop_s'] * row['throughput_per_s']
        if busy > bounds.loop_busy:
            text = f'the event loop was busy for {min(1.0, busy):.0%} of the time'
            if row['closed_loop']:
                caution.append(
                    f'{text}: the throughput is its, not that of broker or executor; longer tasks or '
                    'larger items load these more'
                )
            else:
                invalid.append(f'{text}: lower the rate, or put the generator on a worker')
    if (row['loop_stall_share'] or 0.0) > bounds.loop_stalled:
        remedy = 'close other programs, and ' if row['loop_culprit'] == 'cpu-starved' else ''
        caution.append(
            f'the event loop was held for {row["loop_stall_share"]:.0%} of the time, longest '
            f'{culprit_words(row["loop_culprit"])}: {remedy}see stalls/ for each with its culprit'
        )
    if row['closed_loop']:
        caution += _window(row, bounds)
    for name, text in (
        ('machine_busy', 'of the cores were busy before the run began: close other programs'),
        ('machine_stolen', 'of the time went to other machines of the host: measure when it is quiet'),
    ):
        if row[name] is not None and row[name] > getattr(bounds, name):
            caution.append(f'busy machine: {row[name]:.0%} {text}')
    if row['reordered']:
        caution.append(
            f'{row["reordered"]} items arrived out of order: no figure suffers, but who needs order '
            'must restore it'
        )
    if row['reconnects']:
        caution.append(
            f'{row["reconnects"]} broker connections were made anew: look into the log of the broker, '
            'and measure again'
        )
    if row['redis_shared']:
        used = row['broker_cpu']
        busy = '' if used is None else f', busy for {used:.0%} of a core'
        caution.append(
            f'broker and store are one Redis{busy}: large SETs delay small PUBLISHes; give two '
            'servers, or no address for two embedded ones'
        )
    grade = INVALID if invalid else CAUTION if caution else VALID
    return grade, [*invalid, *caution]


def _window(row: Mapping[str, Any], bounds: Bounds) -> list[str]:
    """Return why the throughput of a closed loop is no capacity, if it isn't."""
    permits = row['max_outstanding']
    if too_short(row, bounds=bounds):
        return [
            f'short: {row["sent"]} items are fewer than {bounds.rounds:g} for each of the {permits} '
            'credits, so begin and end are most of the run and the throughput is no capacity: give '
            f'--task-count {10 * permits} or more'
        ]
    gain = window_gain(row)
    if gain is None or gain <= bounds.window:
        return []
    return [
        f'window-limited: more than the {permits} credits could still add {gain:.0%} to the '
        'throughput, so it is no capacity: double --max-outstanding until it stays'
    ]


def exit_codes(row: Mapping[str, Any]) -> set[int]:
    """Return the exit codes that a run's row calls for."""
    codes: set[int] = set()
    if row['ended'] == INTERRUPTED:
        codes.add(EXIT_INTERRUPTED)
    if row['ended'] == ABORTED:
        codes.add(EXIT_THRESHOLD)
    if row['lost'] or row['duplicated'] or row['corrupt'] or row['resolved_in_dispatcher']:
        codes.add(EXIT_INTEGRITY)
    if row['ended'] in (STALLED, ENDED_BY_FAILURE) or row['failed'] or row['publish_failed']:
        codes.add(EXIT_RUN)
    if row['verdict'] == INVALID and not codes:
        codes.add(EXIT_INVALID)
    return codes
