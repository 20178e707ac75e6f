"""Notes beside the figures: said when there is something to say, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.notes import across_hosts, notes_text
from streambench.records import RunRow
from streambench.waterfall import waterfall

MS = 1_000_000


def row(**changes: Any) -> RunRow:
    """Return a run's row."""
    values: dict[str, Any] = {'sent': 100, 'method': 'default', 'generator': 'loop'}
    return RunRow(**(values | changes))


@pytest.mark.parametrize(
    ('rows', 'words'),
    [
        ([row(bottleneck='workers'), row(bottleneck='workers')], 'bottleneck: workers'),
        (
            [row(bottleneck='workers'), row(bottleneck='loop'), row(bottleneck='loop')],
            'bottleneck: loop (2 of 3 runs), workers (1 of 3 runs)',
        ),
        (
            [row(loop_wait_p50_s=0.0002, sojourn_p50_s=0.004)],
            'loop wait: 0.2 ms of 4 ms per item',
        ),
        (
            [row(sojourn_p50_s=0.0042), row(sojourn_p50_s=0.0032, generator='worker')],
            'interference: +1 ms (default 0 B) of the median sojourn',
        ),
        ([row(warmup_s=2.0, window_n=70)], 'window: 70 of 100 items, those due 2 s after'),
        ([row(backpressure_s=1.5)], 'the reader stood still for up to 1.5'),
        ([row(closed_loop=True, max_outstanding=64)], '64 credits, for too few items'),
        (
            [
                row(
                    closed_loop=True,
                    max_outstanding=10,
                    sojourn_mean_s=0.101,
                    sojourn_min_s=0.001,
                )
            ],
            '10 credits; more of them could add 1 % to the throughput at most',
        ),
        (
            [row(sent=200_001)],
            'not held against queueing theory, which is done for up to 200000 items',
        ),
        (
            [row(clock_shift_bound_s=0.001)],
            'not held against queueing theory, which needs one clock',
        ),
        (
            [
                row(
                    waiting_explained_percent=98.7,
                    waiting_unexplained_p50_s=0.0003,
                    waiting_sticks_out='3 8 9 12 15 19',
                )
            ],
            '98.7 % explained by queueing theory, 0.3 ms per item unexplained (medians); most in run '
            '1: items 3 8 9 12 15 …',
        ),
        (
            [row(waiting_explained_percent=0.0, waiting_unexplained_p50_s=0.003)],
            'by queueing theory none has to at this load; handing an item over took 3 ms',
        ),
    ],
)
def test_what_is_said(rows: list[RunRow], words: str) -> None:
    """Each with its figures."""
    assert words in '\n'.join(notes_text(rows))


def test_nothing_to_say() -> None:
    """A run without any of it has no notes."""
    assert notes_text([row()]) == []


def test_stages_that_clocks_can_t_tell_apart_are_shown_as_their_sum() -> None:
    """Dispatch alone has no meaning where the clock's bound is wider than it."""
    stages = {
        f'{name}_at_p50_s': 0.0
        for name in ('publish_delay', 'put', 'delivery', 'queue_wait', 'resolve', 'verify')
    }
    known = {
        'dispatch_at_p50_s': -0.050,
        'return_at_p50_s': 0.054,
        'task_sleep_at_p50_s': 0.1,
        'at_p50_n': 4,
        'dispatch_p50_s': -0.050,
        'return_p50_s': 0.054,
        'data_size_bytes': 1000,
    }
    near = row(**stages, **known, clock_bound_s=0.001)
    assert not across_hosts([near])
    far = row(**stages, **known, clock_bound_s=0.06)
    assert across_hosts([far])
    head, lines = waterfall([[far]])
    assert lines[0][head.index('dispatch')] == 'in return'
    assert lines[0][head.index('return')] == '4.0'
    assert 'only their sum counts: 4 ms' in '\n'.join(notes_text([far]))


def test_a_clock_that_was_shifted_once_may_have_drifted() -> None:
    """What was known to a millisecond is known to two after ten seconds, to 61 after ten minutes."""
    for elapsed_s, words in (
        (0.1, 'to within 1 ms'),
        (10.0, 'to within 2 ms'),
        (600.0, 'within 61 ms'),
    ):
        told = notes_text([row(clock_shift_bound_s=0.001, makespan_s=elapsed_s)])
        assert any(words in note for note in told), told
