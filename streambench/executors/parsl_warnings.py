"""What Parsl warns of once per task, said once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Once(logging.Filter):
    """Let a text pass the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this text is new."""
        new = str(record.msg) not in self._seen
        self._seen.add(str(record.msg))
        return new


@contextmanager
def said_once() -> Iterator[None]:
    """Let Parsl say once, not once per task, that an argument is above 1 MB."""
    serializing, once = logging.getLogger('parsl.serialize.facade'), _Once()
    serializing.addFilter(once)
    try:
        yield
    finally:
        serializing.removeFilter(once)
