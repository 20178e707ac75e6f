"""By how much the clocks of other hosts are ahead of the dispatcher's, on which all instants are given.

An offset is the middle of what the tasks before a run allow of it (`clocks`), or the first of that host
in it. It stays for the run, so that intervals on one host are what they were there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from streambench.clock import NS_PER_S
from streambench.clocks import fit_hosts

if TYPE_CHECKING:
    from streambench.worker import Outcome

# Clock domain, submit, start, end and complete of a task.
Reading = tuple[str, int | None, int | None, int | None, int | None]


class Offsets:
    """Offsets of the clocks that are known.

    Attributes:
        own: Domain of the dispatcher's clock.
    """

    def __init__(self) -> None:
        self.own = ''
        self._settled = False
        self._readings: list[Reading] = []
        self._ahead_ns: dict[str, int] = {}
        self._widths_ns: dict[str, int | None] = {}

    def learn(self, readings: Iterable[Reading]) -> None:
        """Take what tasks say of the clocks of their hosts, beside those that said something before.

        Args:
            readings: Clock domain, submit, start, end and complete of each.
        """
        self._readings += (reading for reading in readings if reading[0] != self.own)
        for domain, clock in fit_hosts(self._readings, self.own).items():
            self._ahead_ns[domain] = clock.offset_ns(clock.span_ns[1])
            self._widths_ns[domain] = clock.widest_ns

    def settle(self) -> None:
        """Take what the tasks so far say; what is known then stays, since the run begins."""
        self.learn(())
        self._readings.clear()
        self._settled = True

    @property
    def ahead_ns(self) -> Mapping[str, int]:
        """By how much each clock is ahead, the dispatcher's own included."""
        return self._ahead_ns | {self.own: 0}

    @property
    def others(self) -> bool:
        """Whether a task ran on a clock that is not the dispatcher's."""
        return bool(self._ahead_ns)

    @property
    def bound_s(self) -> float | None:
        """Width of the widest bound; None on one clock, and where no offset is allowed."""
        widths = [width for width in self._widths_ns.values() if width is not None]
        return max(widths) / NS_PER_S if widths else None

    def shifted(self, outcome: Outcome, submit_ns: int | None, complete_ns: int) -> Outcome:
        """Return what a task brought back with its instants on the dispatcher's clock.

        Args:
            outcome: What it brought back.
            submit_ns: When it was submitted.
            complete_ns: When its outcome was known.
        """
        start_ns, resolved_ns, verified_ns, end_ns, _, domain, *_ = outcome
        if domain == self.own:
            return outcome
        reading = (domain, submit_ns, start_ns, end_ns, complete_ns)
        if domain not in self._ahead_ns:
            self.learn([reading])
        elif not self._settled:
            self._readings.append(reading)
        ahead = self._ahead_ns.get(domain, 0)
        return (
            start_ns - ahead,
            resolved_ns - ahead,
            verified_ns - ahead,
            end_ns - ahead,
            *outcome[4:],
        )
