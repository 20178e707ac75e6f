"""Verdicts and exit codes: what makes a run valid, doubtful or worthless."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streambench.bounds import bounds_of, bounds_table
from streambench.errors import first_exit_code
from streambench.records import RunRow, column_names
from streambench.verdict import CAUTION, INVALID, VALID, exit_codes, judge


def row(**changes: Any) -> dict[str, Any]:
    """Return the row of a good run, changed."""
    good = {
        'ended': 'complete',
        'sent': 100,
        'received': 100,
        'completed_tasks': 100,
        'workers': 4,
        'compute_workers': 3,
        'workers_proven': 3,
        'offered_rate_per_s': 10.0,
        'publish_delay_p50_s': 0.0001,
        'pacing_floor_s': 0.0001,
    }
    blank = RunRow()
    return {name: getattr(blank, name) for name in column_names(RunRow)} | good | changes


PLACED = {'generator': 'worker', 'workers_proven': 4}
WINDOW = {'closed_loop': True, 'max_outstanding': 8, 'offered_rate_per_s': None}


@pytest.mark.parametrize(
    ('changes', 'grade', 'word', 'code'),
    [
        ({}, VALID, '', 0),
        ({'lost': 1}, INVALID, '1 lost', 4),
        ({'duplicated': 2}, INVALID, '2 duplicated', 4),
        ({'corrupt': 1}, INVALID, '1 corrupt', 4),
        ({'resolved_in_dispatcher': 1}, INVALID, 'dispatcher', 4),
        ({'failed': 1}, INVALID, '1 task failed: items', 3),
        ({'publish_failed': 1}, INVALID, '1 item was not published: items', 3),
        ({'ended': 'stalled', 'reason': 'Nothing moved.'}, INVALID, 'stalled: Nothing moved', 3),
        ({'ended': 'stalled', 'reason': 'x', 'lost': 1}, INVALID, 'integrity', 4),
        ({'ended': 'interrupted'}, INVALID, 'interrupted', 130),
        ({'workers_proven': 2}, INVALID, '2 of 3 workers', 5),
        ({'publish_delay_p50_s': 0.2}, INVALID, 'generator 200.0 ms late', 5),
        ({'publish_delay_p50_s': 0.03}, CAUTION, 'generator 30.0 ms late', 0),
        ({'offered_rate_per_s': 2000.0}, CAUTION, 'pacing floor', 0),
        ({'redis_shared': True}, CAUTION, 'one Redis', 0),
        ({'reordered': 3}, CAUTION, '3 items arrived out of order', 0),
        (PLACED | {'reordered': 3, 'generators': 3}, VALID, '', 0),
        ({'machine_busy': 0.7}, CAUTION, 'busy machine: 70% of the cores', 0),
        ({'machine_stolen': 0.2}, CAUTION, 'busy machine: 20% of the time', 0),
        ({'machine_busy': 0.3, 'machine_stolen': 0.01}, VALID, '', 0),
        ({'bookkeeping_difference': -0.002}, INVALID, 'bookkeeping', 5),
        ({'bookkeeping_difference': 0.0005}, VALID, '', 0),
        ({'demand_loop_s': 0.02, 'throughput_per_s': 49.0}, INVALID, 'event loop was busy for 98%', 5),
        (
            {'demand_loop_s': 0.02, 'throughput_per_s': 49.0, 'closed_loop': True},
            CAUTION,
            'event loop was busy',
            0,
        ),
        ({'demand_loop_s': 0.01, 'throughput_per_s': 49.0}, VALID, '', 0),
        (
            {'demand_workers_s': 0.01, 'throughput_per_s': 50.0} | WINDOW,
            CAUTION,
            'window-limited: more than the 8 credits could still add 100% to the throughput',
            0,
        ),
        # Doubling the credits may still add 3 %, or 1 %; a schedule has none.
        ({'demand_workers_s': 0.01, 'throughput_per_s': 97.0} | WINDOW, CAUTION, 'add 3%', 0),
        ({'demand_workers_s': 0.01, 'throughput_per_s': 99.0} | WINDOW, VALID, '', 0),
        ({'demand_workers_s': 0.01, 'throughput_per_s': 50.0}, VALID, '', 0),
        (WINDOW, VALID, '', 0),
        # A station that nobody sees: items wait for 100 times as long as one takes alone.
        (
            {'sojourn_mean_s': 0.1, 'sojourn_min_s': 0.001, 'demand_workers_s': 0.01}
            | {'throughput_per_s': 50.0}
            | WINDOW,
            VALID,
            '',
            0,
        ),
        # All of them were out at once.
        (
            WINDOW | {'max_outstanding': 200},
            CAUTION,
            'short: 100 items are fewer than 2 for each of the 200 credits',
            0,
        ),
        ({'redis_shared': True, 'broker_cpu': 0.34}, CAUTION, 'one Redis, busy for 34% of a core', 0),
        ({'reconnects': 1}, CAUTION, 'made anew', 0),
        (
            {'loop_stall_share': 0.2, 'loop_culprit': 'gc'},
            CAUTION,
            'longest by garbage collection: see stalls/',
            0,
        ),
        (
            {'loop_stall_share': 0.2, 'loop_culprit': 'cpu-starved'},
            CAUTION,
            'longest for want of a core: close other programs, and see stalls/',
            0,
        ),
        (
            {'loop_stall_share': 0.2, 'loop_culprit': 'callback: a.py:3 f'},
            CAUTION,
            'longest by a callback, a.py:3 f: see stalls/',
            0,
        ),
        ({'generator': 'worker'}, INVALID, '3 of 4 workers', 5),
        ({'efficiency': 1.0}, VALID, '', 0),
        ({'efficiency': 1.08}, CAUTION, 'efficiency 1.080 is above 1: more than the 3 compute', 0),
        (PLACED | {'efficiency': 1.08}, CAUTION, "the generator's too once all was sent", 0),
        # No figure is left.
        ({'warmup_s': 5.0}, CAUTION, 'empty window: none of the 100 items was due 5 s after', 0),
        ({'warmup_s': 5.0, 'window_n': 1}, VALID, '', 0),
        # Each of four generators paces a fourth of the items.
        (PLACED | {'offered_rate_per_s': 2000.0, 'generators': 4}, VALID, '', 0),
        (PLACED | {'offered_rate_per_s': 2000.0, 'generators': 1}, CAUTION, '20% of the interval', 0),
    ],
)
def test_judgement(changes: dict[str, Any], grade: str, word: str, code: int) -> None:
    """Each mishap has its grade, a reason that names it, and its exit code."""
    found = row(**changes)
    found['verdict'], reasons = judge(found)
    assert found['verdict'] == grade
    assert word in '; '.join(reasons)
    assert first_exit_code(exit_codes(found)) == code


def test_every_reason_has_a_remedy() -> None:
    """What is wrong, its figures, and after a colon or semicolon what to do about it."""
    wrong = row(
        **{
            'lost': 1,
            'resolved_in_dispatcher': 1,
            'failed': 1,
            'publish_failed': 1,
            'workers_proven': 2,
        },
        **{'publish_delay_p50_s': 0.2, 'offered_rate_per_s': 2000.0, 'bookkeeping_difference': 0.1},
        **{'demand_loop_s': 0.001, 'throughput_per_s': 990.0, 'loop_stall_share': 0.2, 'reordered': 2},
        **{'machine_busy': 0.9, 'machine_stolen': 0.5, 'reconnects': 1, 'redis_shared': True},
    )
    closed = row(**WINDOW | {'demand_loop_s': 0.001, 'throughput_per_s': 990.0, 'max_outstanding': 200})
    late = row(publish_delay_p50_s=0.03, warmup_s=3.0, efficiency=1.1)
    for found in (wrong, closed, late):
        _, reasons = judge(found)
        for reason in reasons:
            assert re.search(r'[:;] \S.* \S', reason), reason
    assert len(judge(wrong)[1]) == 14


@pytest.mark.parametrize(
    ('changes', 'remedy'),
    [
        ({'publish_delay_p50_s': 0.03}, 'lower the rate, or put the generator on a worker'),
        (
            PLACED | {'publish_delay_p50_s': 0.03},
            'lower the rate, or share the items among more --generators',
        ),
        (PLACED | {'offered_rate_per_s': 2000.0}, 'share the items among more --generators'),
        (
            {'demand_loop_s': 0.02, 'throughput_per_s': 49.0},
            'lower the rate, or put the generator on a worker',
        ),
        # It is there already.
        (PLACED | {'demand_loop_s': 0.02, 'throughput_per_s': 49.0}, 'of the time: lower the rate'),
        (WINDOW | {'max_outstanding': 200}, 'give --task-count 2000 or more'),
        # That can't be given with a duration.
        (
            WINDOW | {'max_outstanding': 200, 'duration_s': 1.0},
            'send for longer (--duration), about 2000 items, or give fewer credits',
        ),
        ({'ended': 'stalled', 'reason': 'nothing moved; see --x.'}, 'nothing moved; see --x'),
    ],
)
def test_a_remedy_helps(changes: dict[str, Any], remedy: str) -> None:
    """What is advised can be done, and is not done already."""
    (reason,) = judge(row(**changes))[1]
    assert reason.endswith(remedy)


def test_a_closed_loop_that_was_ended_needs_no_other_credits() -> None:
    """It sent few items because it ended, and those that were lost kept their credits."""
    short = row(**WINDOW | {'max_outstanding': 200, 'ended': 'stalled'})
    limited = {'demand_workers_s': 0.01, 'throughput_per_s': 50.0}
    for found in (short, row(**WINDOW | limited | {'ended': 'aborted'})):
        assert len(judge(found)[1]) == 1


def test_what_an_executor_remarks_is_a_caution() -> None:
    """It stands among the reasons, and makes nothing invalid."""
    remarks = 'results are looked for every 0.5 s'
    assert judge(row(remarks=remarks)) == (CAUTION, [remarks])


def test_a_limit_stands_for_fewer_workers() -> None:
    """A run held to fewer workers by a limit isn't blamed for the others."""
    assert judge(row(compute_workers=5, slots=3))[0] == VALID
    assert judge(row(compute_workers=5))[0] == INVALID


def test_the_first_exit_code_wins() -> None:
    """130, 2, 4, 3, 5, 99 in this order."""
    codes = [130, 2, 4, 3, 5, 99, 0]
    while codes:
        assert first_exit_code(set(codes)) == codes.pop(0)


def test_bounds_can_be_set() -> None:
    """A set bound takes the place of its default, and a name that is none gets the nearest."""
    strict = bounds_of([('machine_busy', '0.1')])
    assert judge(row(machine_busy=0.2), bounds=strict)[0] == CAUTION
    assert judge(row(machine_busy=0.2))[0] == VALID
    with pytest.raises(ValueError, match='did you mean machine_busy'):
        bounds_of([('machine_buzy', '0.1')])
    with pytest.raises(ValueError, match="machine_busy is 'much'"):
        bounds_of([('machine_busy', 'much')])


def test_every_bound_is_explained() -> None:
    """Each bound has a default and a sentence."""
    for name, default, doc in bounds_table():
        assert default > 0, name
        assert doc.endswith('.'), name
