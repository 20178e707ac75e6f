"""A recording of when items left and how long they were, to be replayed exactly: a CSV file."""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from streambench.clock import NS_PER_S
from streambench.errors import ConfigError
from streambench.kinds import MAX_COUNT, MAX_NUMBER

TRACE = 'trace'
HEADER = ['offset_s', 'size_bytes']


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Recorded arrivals; equal if they come from the same state of the same file.

    Attributes:
        path: The file.
        modified_ns: When it was last written.
        offsets_ns: When each item left, from the start of the recording.
        sizes_bytes: How long each was, or None if the file doesn't say.
    """

    path: str
    modified_ns: int
    offsets_ns: array[int] = field(compare=False, repr=False)
    sizes_bytes: array[int] | None = field(compare=False, repr=False)

    @property
    def rate_per_s(self) -> float | None:
        """Mean rate from the first item to the last, or None if all left at once."""
        span_ns = self.offsets_ns[-1] - self.offsets_ns[0]
        return (len(self.offsets_ns) - 1) * NS_PER_S / span_ns if span_ns else None

    @property
    def mean_bytes(self) -> int | None:
        """Mean length, or None if the file says none."""
        if self.sizes_bytes is None:
            return None
        return max(1, round(sum(self.sizes_bytes) / len(self.sizes_bytes)))


def trace_path(arrival: str) -> str | None:
    """Return the file of a trace, or None for another arrival."""
    word, _, rest = arrival.partition(':')
    return rest if word == TRACE and rest.strip() and '\0' not in rest else None


def read_trace(path: str) -> Trace:
    """Return a trace: CSV lines of `offset_s,size_bytes`, header and size optional.

    It blocks; an unchanged file is read once.

    Raises:
        ConfigError: If it can't be read; says the file, the line and the reason.
    """
    try:
        return _read_trace(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise ConfigError(f'--arrival: trace {path!r} can not be read: {error.strerror}.') from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f'--arrival: trace {path!r} is not CSV text: {error}.') from None


@lru_cache(maxsize=8)
def _read_trace(path: str, modified_ns: int) -> Trace:
    offsets, sizes = array('q'), array('q')
    # Without quoting, a line of the file is a line of the trace.
    with open(path, newline='', encoding='utf-8-sig') as file:
        rows = csv.reader(file, quoting=csv.QUOTE_NONE)
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells) or (not offsets and cells in (HEADER, HEADER[:1])):
                continue
            try:
                _take(cells, offsets, sizes)
            except ValueError as error:
                raise ConfigError(
                    f'--arrival: trace {path!r}, line {rows.line_num}: {error}.'
                ) from None
    if not offsets:
        raise ConfigError(f'--arrival: trace {path!r} has no item; give lines of offset_s,size_bytes.')
    return Trace(
        path=path, modified_ns=modified_ns, offsets_ns=offsets, sizes_bytes=sizes if sizes else None
    )


def _take(cells: list[str], offsets: array[int], sizes: array[int]) -> None:
    """Add a line of a trace."""
    if len(cells) > 2:
        raise ValueError(f'{len(cells)} fields must be offset_s,size_bytes or offset_s alone')
    try:
        offset_s = float(cells[0])
    except ValueError:
        raise ValueError(f'offset_s {cells[0]!r} must be a number of seconds') from None
    if not 0 <= offset_s <= MAX_NUMBER:
        raise ValueError(f'offset_s {cells[0]!r} must be from 0 to {MAX_NUMBER:g}')
    offset_ns = round(offset_s * NS_PER_S)
    if offsets and offset_ns < offsets[-1]:
        raise ValueError(
            f'offset_s {cells[0]!r} must not be below {offsets[-1] / NS_PER_S:g} of the line before'
        )
    given = len(cells) == 2 and cells[1] != ''
    if offsets and given != bool(sizes):
        raise ValueError('size_bytes must stand in every line or in none')
    if given:
        if not cells[1].isdecimal() or not 1 <= int(cells[1]) <= MAX_COUNT:
            raise ValueError(f'size_bytes {cells[1]!r} must be a whole number of at least 1')
        sizes.append(int(cells[1]))
    offsets.append(offset_ns)
