"""Whether to believe a run: `valid`, `caution` or `invalid`, with the reasons and what to do.

Where a grade begins stands in `bounds`.
"""

from __future__ import annotations

import math
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

# What an instant's last digits can do.
MOST_EFFICIENT = 1.001

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
    # A sentence of an error, to be followed by others.
    told = row['reason'].removesuffix('.')
    if row['ended'] != COMPLETE:
        invalid.append(f'{row["ended"]}: {told}' if told else row['ended'])
    if row['failed'] or row['publish_failed']:
        why = f': {(row["ended"] == COMPLETE and told) or "items/ has the error of each"}'
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
        text = (
            f'generator {late * 1e3:.1f} ms late at the median, interval {interval * 1e3:.3g} ms: '
            f'lower the rate, or {_relief(row)}'
        )
        if late > max(bounds.late_invalid_s, bounds.late_invalid_share * interval):
            invalid.append(text)
        elif late > max(bounds.late_caution_s, bounds.late_caution_share * interval):
            caution.append(text)
    floor = row['pacing_floor_s']
    # Those of a burst are to leave in clumps, and a trace's intervals are its own.
    spaced = row['arrival'] in ('', 'constant', 'poisson')
    # Each of several generators has their number of intervals between two items of its own.
    if (
        rate
        and floor
        and spaced
        and (share := floor * rate / max(1, row['generators'])) > bounds.pacing_share
    ):
        more = 'more --generators' if row['generator'] == 'worker' else '--generators on workers'
        caution.append(
            f'pacing floor {floor * 1e3:.1f} ms is {share:.0%} of the interval: items leave '
            f'in clumps: lower the rate, or share the items among {more}'
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
                # Without the generator nothing is left on it that could be elsewhere.
                relief = '' if row['generator'] == 'worker' else f', or {_relief(row)}'
                invalid.append(f'{text}: lower the rate{relief}')
    if (row['loop_stall_share'] or 0.0) > bounds.loop_stalled:
        remedy = 'close other programs, and ' if row['loop_culprit'] == 'cpu-starved' else ''
        caution.append(
            f'the event loop was held for {row["loop_stall_share"]:.0%} of the time, longest '
            f'{culprit_words(row["loop_culprit"])}: {remedy}see stalls/ for each with its culprit'
        )
    if row['closed_loop'] and row['ended'] == COMPLETE:
        caution += _window(row, bounds)
    if row['warmup_s'] and row['sent'] and not row['window_n']:
        caution.append(
            f'empty window: none of the {row["sent"]} items was due {row["warmup_s"]:g} s after the '
            'first or later, so there are no figures: shorten --warmup, or send for longer'
        )
    if (row['efficiency'] or 0.0) > MOST_EFFICIENT:
        caution.append(_too_efficient(row))
    for name, text in (
        ('machine_busy', 'of the cores were busy before the run began: close other programs'),
        ('machine_stolen', 'of the time went to other machines of the host: measure when it is quiet'),
    ):
        if row[name] is not None and row[name] > getattr(bounds, name):
            caution.append(f'busy machine: {row[name]:.0%} {text}')
    # Items of several generators have no order among themselves.
    if row['reordered'] and row['generators'] == 1:
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


def _too_efficient(row: Mapping[str, Any]) -> str:
    """Return why a run took less time than servers without overhead would."""
    servers = f'the {row["compute_workers"]} compute workers'
    text = f'efficiency {row["efficiency"]:.3f} is above 1: more than {servers} computed'
    if row['generator'] == 'worker':
        return (
            f"{text}, the generator's too once all was sent: take load 1 or less, or --generator loop"
        )
    return f'{text}: look for the others in the configuration of the executor'


def _relief(row: Mapping[str, Any]) -> str:
    """Return what takes work off the generator."""
    if row['generator'] == 'worker':
        return 'share the items among more --generators'
    return 'put the generator on a worker'


def _window(row: Mapping[str, Any], bounds: Bounds) -> list[str]:
    """Return why the throughput of a closed loop is no capacity, if it isn't."""
    permits = row['max_outstanding']
    if too_short(row, bounds=bounds):
        enough = math.ceil(max(10.0, bounds.rounds) * permits)
        remedy = f'give --task-count {enough} or more'
        if row['duration_s']:
            remedy = f'send for longer (--duration), about {enough} items, or give fewer credits'
        return [
            f'short: {row["sent"]} items are fewer than {bounds.rounds:g} for each of the {permits} '
            f'credits, so begin and end are most of the run and the throughput is no capacity: {remedy}'
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
