"""Tables of the command for programs (raw values) and for pages: `--format json|csv|md`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TABLE = 'table'
JSON = 'json'
CSV = 'csv'
MARKDOWN = 'md'
FORMATS = (TABLE, JSON, CSV, MARKDOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A table for programs and for pages.

    Attributes:
        names: Keys of the raw values.
        rows: Raw values; None is absent.
        head: Headings for a person.
        texts: What a person reads, row by row.
        notes: Sentences that belong to it; CSV has no place for them.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]
    head: Sequence[str]
    texts: Sequence[Sequence[str]]
    notes: Sequence[str]


def render(table: Shaped, form: str) -> str:
    """Return a table as text without a newline at its end.

    Args:
        table: What is in it.
        form: `json`, `csv` or `md`.
    """
    if form == JSON:
        rows = [dict(zip(table.names, row, strict=True)) for row in table.rows]
        return json.dumps({'rows': rows, 'notes': list(table.notes)}, indent=2, ensure_ascii=False)
    if form == CSV:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(table.names)
        writer.writerows(table.rows)
        return file.getvalue().removesuffix('\n')
    cells = [table.head, ['---'] * len(table.head), *table.texts]
    lines = [f'| {" | ".join(cell.replace("|", "/") for cell in row)} |' for row in cells]
    return '\n'.join([*lines, *(['', *(f'- {note}' for note in table.notes)] if table.notes else [])])
