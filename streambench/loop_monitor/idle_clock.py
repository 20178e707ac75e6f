"""What tells how long a loop has waited with nothing to do: libuv, or a replaced selector."""

from __future__ import annotations

from typing import Protocol


class IdleClock(Protocol):
    """How long a loop has waited with nothing to do."""

    source: str

    def idle_ns(self) -> int:
        """Return the time in which the loop had nothing to do, in ns."""

    def ticked(self) -> int:
        """Return idle_ns, and note that a tick runs."""

    def busy_since(self) -> tuple[int, int] | None:
        """Return the earliest and latest begin of what the loop does, None if that can't be told."""

    def counts(self) -> tuple[int, int, int] | None:
        """Return iterations, events, events that were waiting; None if not counted."""

    def close(self) -> None:
        """Undo what was changed in the loop."""
