"""The bookkeeping check: do the live counters and the rows tell of the same items?

Little's law computed from a run's own rows is an identity: the time integral of the items in the
system is the sum of their sojourns whatever the rows say (Little, A proof for the queuing formula
L = lambda W, Operations Research 9, 1961; in finite time Stidham, A last word on L = lambda W, ibid.
22, 1974). So the integral is taken from counters that step in the living code, never from rows. It then
differs from the rows' sum if rows are missing or doubled, or carry instants that weren't.
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the check found.

    Attributes:
        integral_ns: Time integral of the items in the system, in items x ns.
        sojourns_ns: Sum of the rows' sojourns.
        difference: (integral - sojourns) / sojourns; None where only one of them is 0.
        level: Items still in the system.
        reason: Why the books don't balance; empty if they do.
    """

    integral_ns: int
    sojourns_ns: int
    difference: float | None
    level: int
    reason: str

    @property
    def balanced(self) -> bool:
        """Whether the counters and the rows agree."""
        return not self.reason


class LiveIntegral:
    """Time integral of the number of items in the system, a step function.

    Each step is one addition, and nothing is kept per item. The integral up to an instant T is the
    sum of change x (T - instant), so instants need not ascend; once the system is empty T cancels out.
    Calls must come in the order of what happened: an item enters before it leaves. All is done in whole
    numbers and exact.

    Attributes:
        level: Items in the system now.
        highest: Most items that there have been.
        lowest: Fewest; below 0 only if something left that had not entered.
    """

    __slots__ = ('_moment', '_origin_ns', 'highest', 'level', 'lowest')

    def __init__(self) -> None:
        self.level = 0
        self.highest = 0
        self.lowest = 0
        # Sum of change x (instant - origin); the origin keeps the numbers short.
        self._moment = 0
        self._origin_ns: int | None = None

    def add(self, at_ns: int, change: int) -> None:
        """Take a step.

        Args:
            at_ns: Its instant.
            change: Items that entered, or less than 0, left.
        """
        if self._origin_ns is None:
            self._origin_ns = at_ns
        self._moment += change * (at_ns - self._origin_ns)
        self.level += change
        if self.level > self.highest:
            self.highest = self.level
        elif self.level < self.lowest:
            self.lowest = self.level

    def until(self, at_ns: int) -> int:
        """Return the integral up to an instant at or after the last step, in items x ns."""
        if self._origin_ns is None:
            return 0
        return self.level * (at_ns - self._origin_ns) - self._moment

    def check(self, sum_sojourn_ns: int, *, tolerance: float = TOLERANCE) -> Books:
        """Compare with the rows, from an empty system to an empty one.

        Args:
            sum_sojourn_ns: Sum over the rows of the time between the two instants at which the counter
                steps up and down.
            tolerance: Largest difference as a share of that sum.
        """
        integral = -self._moment
        difference: float | None
        if sum_sojourn_ns:
            difference = (integral - sum_sojourn_ns) / sum_sojourn_ns
        else:
            difference = None if integral else 0.0
        if self.level > 0:
            reason = f'{self.level} items entered and never left'
        elif self.lowest < 0 or self.level < 0:
            reason = f'{-self.lowest} more items left than had entered'
        elif difference is None or abs(difference) > tolerance:
            said = 'absent' if difference is None else f'{abs(difference):.2%} off'
            reason = (
                f'time in the system is {integral / 1e9:.3f} s by the counters and '
                f'{sum_sojourn_ns / 1e9:.3f} s by the rows, {said} where {tolerance:.2%} is allowed'
            )
        else:
            reason = ''
        return Books(
            integral_ns=integral,
            sojourns_ns=sum_sojourn_ns,
            difference=difference,
            level=self.level,
            reason=reason,
        )
