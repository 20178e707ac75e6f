"""The bookkeeping check: exact over any order, and blind to no missing row."""

from __future__ import annotations

import random
from dataclasses import replace

from streambench.bookkeeping import LiveIntegral
from streambench.run_row import UNBALANCED, bookkeeping
from streambench.tally import tally

S = 1_000_000_000
BOOT = 12_345_678_901_234_567


def visits(n: int, *, seed: int) -> list[tuple[int, int]]:
    """Return when items entered and left, about 12 in the system at a time."""
    draw = random.Random(seed)
    entered = [BOOT + number * S // 100 for number in range(n)]
    return [(at, at + round(draw.expovariate(1 / (0.12 * S)))) for at in entered]


def steps(items: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the steps of the counter in order of time."""
    return sorted([(enter, 1) for enter, _ in items] + [(leave, -1) for _, leave in items])


def integral(items: list[tuple[int, int]]) -> LiveIntegral:
    """Return the integral of a system that had these items."""
    live = LiveIntegral()
    for at, change in steps(items):
        live.add(at, change)
    return live


def test_by_hand() -> None:
    """One item for 2 s, two for 3 s and one for 1 s are 9 item-seconds."""
    live = LiveIntegral()
    for at, change in ((10, 1), (12, 1), (15, -1)):
        live.add(at * S, change)
    assert (live.until(16 * S), live.level) == (9 * S, 1)
    live.add(16 * S, -1)
    assert live.until(99 * S) == 9 * S
    books = live.check(9 * S)
    assert (books.balanced, books.difference, books.reason) == (True, 0.0, '')
    assert (live.highest, live.lowest) == (2, 0)


def test_the_integral_is_the_sum_of_sojourns() -> None:
    """From empty to empty the two are equal to the nanosecond, days after the boot."""
    items = visits(5000, seed=1)
    live = integral(items)
    assert live.check(sum(leave - enter for enter, leave in items), tolerance=0.0).balanced


def test_instants_need_not_ascend() -> None:
    """An item counted from its intended instant, which is past when it is sent, integrates the same."""
    items = visits(200, seed=2)
    shuffled = steps(items)
    random.Random(3).shuffle(shuffled)
    live = LiveIntegral()
    for at, change in shuffled:
        live.add(at, change)
    assert live.until(BOOT + 99 * S) == sum(leave - enter for enter, leave in items)


def test_a_missing_and_a_doubled_row_show() -> None:
    """One row in 500 too few or too many is beyond 0.1 %, whichever row it is."""
    items = [(enter, enter + S // 10) for enter, _ in visits(500, seed=4)]
    live = integral(items)
    total = sum(leave - enter for enter, leave in items)
    for wrong in (total - S // 10, total + S // 10):
        books = live.check(wrong)
        assert not books.balanced
        assert '0.20% off where 0.10% is allowed' in books.reason


def test_late_instants_of_rows_show() -> None:
    """Rows stamped 0.2 ms late in a sojourn of 100 ms are found; within 0.1 % they are not."""
    items = [(enter, enter + S // 10) for enter, _ in visits(500, seed=4)]
    live = integral(items)
    assert not live.check(sum(leave - enter + S // 5000 for enter, leave in items)).balanced
    assert live.check(sum(leave - enter + S // 20000 for enter, leave in items)).balanced


def test_a_system_that_is_not_empty_does_not_balance() -> None:
    """Items that never left are counted in the reason."""
    live = LiveIntegral()
    live.add(0, 3)
    live.add(S, -1)
    assert live.check(S).reason == '2 items entered and never left'


def test_leaving_without_entering_does_not_balance() -> None:
    """A counter that was below 0 is wrong even if it ends at 0 with the right integral."""
    live = LiveIntegral()
    for at, change in ((0, -1), (1, 1), (1, 1), (2, -1)):
        live.add(at * S, change)
    assert live.check(0).reason == '1 more items left than had entered'


def test_nothing_at_all() -> None:
    """A run without items balances; rows without counted items don't, nor the reverse."""
    assert LiveIntegral().until(S) == 0
    assert LiveIntegral().check(0).balanced
    assert not LiveIntegral().check(S).balanced
    books = integral([(0, S)]).check(0)
    assert (books.balanced, books.difference) == (False, None)


def test_an_item_that_never_left_is_no_rounding() -> None:
    """Though it entered a microsecond after the first, which is no share of the time of the others."""
    books = LiveIntegral()
    for at_ns, change in ((0, 1), (1000, 1), (10**9, -1)):
        books.add(at_ns, change)
    assert bookkeeping(books, replace(tally([], run=0, warmup_s=0), sojourns_ns=10**9)) == UNBALANCED
    books.add(1000, -1)
    assert bookkeeping(books, replace(tally([], run=0, warmup_s=0), sojourns_ns=10**9)) == 0
