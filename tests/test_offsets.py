"""Clocks of other hosts: their instants are brought to our own clock, as well as tasks bound them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streambench.offsets import Offsets

if TYPE_CHECKING:
    from streambench.worker import Outcome

MS = 1_000_000
# A host that started ten days earlier.
AHEAD = 864_000_000 * MS


def outcome(start_ns: int, *, clock: str, sleep_ns: int = 50 * MS) -> Outcome:
    """Return what a task brings back that resolves and verifies for a millisecond each."""
    instants = (start_ns, start_ns + MS, start_ns + 2 * MS, start_ns + sleep_ns)
    return (*instants, 'there', clock, 1, 2, '', '')


def offsets() -> Offsets:
    """Return none but our own."""
    found = Offsets()
    found.own = 'here'
    return found


def test_our_own_clock_is_left_alone() -> None:
    """What comes back is handed on as it is, and there is no bound to tell."""
    found = offsets()
    came = outcome(1000, clock='here')
    assert found.shifted(came, 0, 60 * MS) is came
    assert found.bound_s is None
    assert found.ahead_ns == {'here': 0}


def test_the_quickest_tasks_say_by_how_much() -> None:
    """One left at 100 ms and began 1 ms later, another came back within 3 ms: known to within 4 ms."""
    found = offsets()
    found.learn(
        [
            ('there', 100 * MS, AHEAD + 101 * MS, AHEAD + 301 * MS, 400 * MS),
            ('there', 110 * MS, AHEAD + 150 * MS, AHEAD + 350 * MS, 353 * MS),
            ('here', 0, 1, 2, 3),
        ]
    )
    assert found.bound_s is not None
    assert abs(found.bound_s - 0.004) < 0.0003
    # The middle: between 3 ms too early and 1 ms too late.
    assert abs(found.ahead_ns['there'] - (AHEAD - MS)) < 0.2 * MS
    assert found.ahead_ns['here'] == 0
    came = found.shifted(outcome(AHEAD + 500 * MS, clock='there'), 490 * MS, 600 * MS)
    assert abs(came[0] - 501 * MS) < 0.2 * MS
    # What lasted on one host lasts as long as before; all else is as it was.
    assert [instant - came[0] for instant in came[:4]] == [0, MS, 2 * MS, 50 * MS]
    assert came[4:] == ('there', 'there', 1, 2, '', '')


def test_a_host_that_nobody_asked_is_known_by_its_first_task() -> None:
    """It began and ended in the middle of its way, and the next ones are shifted by as much."""
    found = offsets()
    found.settle()
    first = found.shifted(outcome(AHEAD + 20 * MS, clock='there'), 10 * MS, 80 * MS)
    assert abs(first[0] - 20 * MS) <= 0.1 * MS
    assert found.bound_s is not None
    assert abs(found.bound_s - 0.02) < 0.001
    second = found.shifted(outcome(AHEAD + 120 * MS, clock='there'), 110 * MS, 180 * MS)
    assert second[0] - first[0] == 100 * MS


def test_before_the_run_every_task_tells_more() -> None:
    """A slow first task, and a quick one after it: the quick one decides when the run begins."""
    found = offsets()
    found.shifted(outcome(AHEAD + 500 * MS, clock='there'), 10 * MS, 580 * MS)
    found.shifted(outcome(AHEAD + 602 * MS, clock='there'), 600 * MS, 656 * MS)
    found.settle()
    assert found.bound_s is not None
    assert abs(found.bound_s - 0.006) < 0.0003
    assert abs(found.ahead_ns['there'] - (AHEAD - MS)) < 0.2 * MS
