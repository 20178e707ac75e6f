"""The cells of one run in results.csv and summary.json, against what they must hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streambench.difference import Difference
from streambench.records import RunRow, column_names
from streambench.run_directory import RunDirectory
from streambench.run_row import BLANK, judged
from streambench.stored_rows import Unreadable

# The same code computed both, so they differ by the order of additions at most.
RELATIVE = 1e-9
ABSOLUTE = 1e-12
JUDGED = ('bottleneck', 'verdict', 'reasons', 'thresholds')

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a cell must hold, and what says so."""

    value: Any
    source: str


def differing(
    file: str, run: int | None, column: str, stored: Any, recomputed: Any, source: str
) -> Difference:
    """Return a difference from its parts, in the order in which they are said."""
    return Difference(
        file=file, run=run, column=column, stored=stored, recomputed=recomputed, source=source
    )


class Cells:
    """The two rows of a run, cell by cell."""

    def __init__(
        self, directory: RunDirectory, run: int, result: Row | None, summary: Row | None
    ) -> None:
        self.run = run
        self.rows: dict[str, Row] = {}
        if result is not None:
            self.rows[directory.results.file] = result
        if summary is not None:
            self.rows[directory.summary.file] = summary
        uneven = directory.results.uneven
        self._shifted: Row | None = None
        if any(result is directory.results.rows[place] for place in uneven):
            # Its cells stand under wrong headings from somewhere on.
            self._shifted = self.rows.pop(directory.results.file)
        self._results = directory.results.file
        self._bounds = directory.bounds(run)
        self._thresholds = directory.thresholds(run)
        # Without a plan nobody knows the bounds of the verdict.
        self.judged = JUDGED if directory.plan else JUDGED[:1]

    def one(self) -> dict[str, Any]:
        """Return one row out of both: summary.json's, where its cells can be read."""
        row = dict(BLANK)
        for stored in self.rows.values():
            row |= _readable(stored)
        return row | {'run': self.run}

    def candidates(self) -> list[dict[str, Any]]:
        """Return each row as far as it can be read."""
        return [BLANK | _readable(row) for row in self.rows.values()]

    def compare(self, expected: Mapping[str, Expected]) -> list[Difference]:
        """Return where the files differ from what is expected and from each other."""
        found = self._astray(expected)
        for name in column_names(RunRow):
            if name not in self.judged:
                found += self._column(name, expected.get(name))
        free = {name: entry.value for name, entry in expected.items()}
        verdicts: dict[str, Row] = {}
        for file, values in zip(self.rows, self.candidates(), strict=True):
            verdicts[file] = judged(values | free, bounds=self._bounds, thresholds=self._thresholds)
        for name in self.judged:
            stored = {file: row.get(name) for file, row in self.rows.items()}
            # Where another figure was touched, a verdict may follow from the other file's.
            right = {verdict[name] for verdict in verdicts.values()}
            if len(set(map(str, stored.values()))) > 1:
                right = set()
            found += [
                differing(
                    file, self.run, name, _plain(value), verdicts[file][name], 'the other columns'
                )
                for file, value in stored.items()
                if value not in right and value != verdicts[file][name]
            ]
        return found

    def _column(self, name: str, entry: Expected | None) -> list[Difference]:
        values = {file: row.get(name, Unreadable('')) for file, row in self.rows.items()}
        differ = len(values) > 1 and not _same(*values.values(), exactly=True)
        if entry is None:
            if not differ:
                return [
                    differing(file, self.run, name, str(value), None, 'the schema')
                    for file, value in values.items()
                    if isinstance(value, Unreadable)
                ]
            (file, value), (other, against) = values.items()
            if isinstance(against, Unreadable):
                (file, value), (other, against) = (other, against), (file, value)
            return [differing(file, self.run, name, _plain(value), _plain(against), other)]
        wrong = {file: value for file, value in values.items() if not _same(value, entry.value)}
        if not wrong and differ:
            # Both are near enough; the one that is farther away was touched.
            distances = {file: abs(value - entry.value) for file, value in values.items()}
            file = max(distances, key=distances.__getitem__)
            wrong = {file: values[file]}
        return [
            differing(file, self.run, name, _plain(value), entry.value, entry.source)
            for file, value in wrong.items()
        ]

    def _astray(self, expected: Mapping[str, Expected]) -> list[Difference]:
        """Return the first column in which a row with too few or too many cells goes astray."""
        result = self._shifted
        if result is None:
            return []
        other = self.one() | ({} if self.rows else {n: e.value for n, e in expected.items()})
        for name in column_names(RunRow):
            value = result.get(name, Unreadable(''))
            if not _same(value, other[name], exactly=True):
                return [
                    differing(
                        self._results, self.run, name, _plain(value), other[name], 'the other file'
                    )
                ]
        return []


def _readable(row: Row) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name in BLANK and not isinstance(value, Unreadable)
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Unreadable) else value


def _same(value: Any, other: Any, *, exactly: bool = False) -> bool:
    """Whether two cells hold the same."""
    if isinstance(value, Unreadable) or isinstance(other, Unreadable):
        return False
    number = isinstance(value, float) or isinstance(other, float)
    if number and value is not None and other is not None and not exactly:
        return math.isclose(value, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(value) is type(other) and bool(value == other) if not number else bool(value == other)
