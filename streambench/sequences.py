"""Which sequence numbers of a stream have come, which are missing, and which came twice."""

from __future__ import annotations

NAMED_ITEMS = 20


class Sequences:
    """The sequence numbers of one phase; what is kept grows with the gaps, not with the stream.

    Attributes:
        duplicated: Deliveries of a number that had been delivered.
        duplicated_items: The first of those numbers.
        missing: Numbers below the highest that have not come.
    """

    def __init__(self) -> None:
        self.duplicated = 0
        self.duplicated_items: list[int] = []
        self.missing: set[int] = set()
        # Numbers below it have all come, but for those that are missing.
        self._next = 0

    def take(self, sequence: int) -> bool | None:
        """Note a number that came.

        Returns:
            Whether it came after a later one; None if it had come before.
        """
        if sequence >= self._next:
            self.missing.update(range(self._next, sequence))
            self._next = sequence + 1
            return False
        if sequence in self.missing:
            self.missing.discard(sequence)
            return True
        self.note_duplicate(sequence)
        return None

    def note_duplicate(self, sequence: int) -> None:
        """Count a delivery that is one too many."""
        self.duplicated += 1
        if len(self.duplicated_items) < NAMED_ITEMS:
            self.duplicated_items.append(sequence)

    def never_came(self, sequence: int) -> bool:
        """Return whether a number has not come so far."""
        return sequence >= self._next or sequence in self.missing
