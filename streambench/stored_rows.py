"""The rows of runs as results.csv and summary.json hold them, cell by cell.

Nothing is refused here: a cell that isn't of its column's kind stands as `Unreadable`, and what can't
be read at all is told as a trouble, so that the rest can be used.
"""

from __future__ import annotations

import csv
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.records import RunRow, column_names


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A cell that is not of its column's kind, as it stands in the file."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Trouble:
    """What could not be read.

    Attributes:
        file: Its name in the run directory.
        what: What is wrong with it, and what that means.
    """

    file: str
    what: str

    def __str__(self) -> str:
        return f'{self.file} {self.what}'


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """The rows of one file.

    Attributes:
        file: Its name in the run directory, or its path if it lies elsewhere.
        rows: Values by column, in the order of the file; a column that isn't there is absent.
        uneven: Places of rows whose cells don't fit the headings, so that they may be shifted.
        stated: Schema versions that the file states apart from its rows.
        troubles: What could not be read.
        there: Whether there is such a file.
    """

    file: str
    rows: tuple[Mapping[str, Any], ...] = ()
    uneven: frozenset[int] = frozenset()
    stated: tuple[Any, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    there: bool = True

    def of(self, run: int) -> Mapping[str, Any] | None:
        """Return the row of a run that can be used, or None."""
        for place, row in enumerate(self.rows):
            if row.get('run') == run and place not in self.uneven:
                return row
        return None


def _kinds() -> dict[str, tuple[type, bool]]:
    """Return the type of each column and whether it may be absent."""
    found = {}
    for name, hint in typing.get_type_hints(RunRow).items():
        arms = typing.get_args(hint)
        kind = next((arm for arm in arms if arm is not type(None)), hint)
        found[name] = (kind, type(None) in arms)
    return found


KINDS = {name: kind for name, kind in _kinds().items() if name in column_names(RunRow)}


def cell_value(column: str, text: str) -> Any:
    """Return what a cell of results.csv stands for."""
    kind, optional = KINDS.get(column, (str, False))
    if kind is str:
        return text
    if not text and optional:
        return None
    if kind is bool:
        return text == 'True' if text in ('True', 'False') else Unreadable(text)
    try:
        number = kind(text)
    except ValueError:
        return Unreadable(text)
    return number if math.isfinite(number) else Unreadable(text)


def json_value(column: str, value: Any) -> Any:
    """Return a value of summary.json, checked against its column's kind."""
    kind, optional = KINDS.get(column, (str, False))
    if value is None:
        return None if optional else Unreadable('null')
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        return Unreadable(json.dumps(value))
    if isinstance(value, float) and not math.isfinite(value):
        return Unreadable(str(value))
    return value


def read_results(path: Path, *, file: str) -> StoredRows:
    """Read results.csv.

    Args:
        path: Where it is.
        file: What to call it.
    """
    try:
        with path.open(newline='', encoding='utf-8') as opened:
            lines = [cells for cells in csv.reader(opened) if cells]
    except FileNotFoundError:
        return StoredRows(file=file, there=False)
    except OSError as error:
        return _unread(file, f'can not be read ({error.strerror})')
    except (UnicodeDecodeError, csv.Error):
        return _unread(file, 'is no CSV file')
    if not lines:
        return _unread(file, 'is empty')
    head = lines[0]
    rows, uneven, troubles = [], set(), []
    for place, cells in enumerate(lines[1:]):
        if len(cells) != len(head):
            uneven.add(place)
            troubles.append(
                Trouble(
                    file,
                    f'has {len(cells)} cells under {len(head)} headings in its row {place + 1}, which '
                    'was not read',
                )
            )
        rows.append({name: cell_value(name, cell) for name, cell in zip(head, cells, strict=False)})
    return StoredRows(file=file, rows=tuple(rows), uneven=frozenset(uneven), troubles=tuple(troubles))


def read_summary(path: Path, *, file: str) -> StoredRows:
    """Read summary.json.

    Args:
        path: Where it is.
        file: What to call it.
    """
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return StoredRows(file=file, there=False)
    except OSError as error:
        return _unread(file, f'can not be read ({error.strerror})')
    except ValueError:
        return _unread(file, 'is no JSON file')
    runs = found.get('runs') if isinstance(found, dict) else None
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        return _unread(file, 'holds no list of runs')
    rows = tuple({name: json_value(name, value) for name, value in run.items()} for run in runs)
    return StoredRows(file=file, rows=rows, stated=(found.get('schema_version'),))


def _unread(file: str, what: str) -> StoredRows:
    return StoredRows(file=file, troubles=(Trouble(file, what),))
