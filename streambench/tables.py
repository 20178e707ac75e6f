"""A table in the form that somebody asked for: for eyes, for a program, for a page.

Every command that prints one has `--format`. Rounding is done by whoever fills the cells; JSON and CSV
get the raw values.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

TABLE = 'table'
JSON = 'json'
CSV = 'csv'
MARKDOWN = 'md'
FORMATS = (TABLE, JSON, CSV, MARKDOWN)
ABSENT = '–'
# A column of words is not folded to less.
NARROWEST = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column and for whom it is.

    Attributes:
        name: Its key in JSON and CSV; empty if it is for eyes only.
        head: Its heading; empty if it is for programs only.
        left: Whether its cells stand to the left, as words do.
    """

    name: str = ''
    head: str = ''
    left: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A raw value and what a person reads in its place."""

    value: Any
    text: str


def estimate_columns(name: str, head: str) -> tuple[Column, Column, Column]:
    """Return the columns of a figure with an interval; a person finds that in the figure's cell.

    Args:
        name: Of the figure, without its unit, seconds.
        head: Its heading.
    """
    low, high = Column(name=f'{name}_low_s'), Column(name=f'{name}_high_s')
    return Column(name=f'{name}_s', head=head), low, high


def add_format_option(parser: argparse._ActionsContainer) -> None:
    """Add `--format` to a command that prints a table."""
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default=TABLE,
        help='how the table is written: for eyes, for programs (raw values), or Markdown '
        f'(default: {TABLE})',
    )


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[bool] = ()) -> str:
    """Return a plain table: words to the left, figures to the right.

    Args:
        head: Headings.
        rows: Cells.
        left: For each column whether it stands to the left; the first two if not given.
    """
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = left or [number < 2 for number in range(len(head))]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if side else cell.rjust(width)
            for cell, width, side in zip(line, widths, sides, strict=True)
        ).rstrip()
        for line in lines
    )


def _wide(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how many letters the longest line of a table may have."""
    return sum(max(map(len, column)) for column in zip(head, *rows, strict=True)) + 2 * (len(head) - 1)


def _fitted(
    head: list[str], rows: list[list[str]], left: list[bool], width: int
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return a table that fits a width; as it is, if it does or can't be made to."""
    if _wide(head, rows) <= width:
        return head, rows, left
    folded = _folded(head, rows, left, width)
    if _wide(head, folded) <= width:
        return head, folded, left
    names, *turned = (list(line) for line in zip(head, *rows, strict=True))
    if _wide(names, turned) <= width:
        return names, turned, [True] + [False] * len(rows)
    return head, folded, left


def _folded(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool], width: int
) -> list[list[str]]:
    """Return rows whose words are folded into lines of their own, so that a table fits a width.

    The widest columns of words give way first; what can't be folded enough stays too wide.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    spare = 2 * (len(head) - 1)
    while sum(widths) + spare > width:
        at = max((at for at, side in enumerate(left) if side), key=widths.__getitem__)
        if widths[at] <= NARROWEST:
            break
        widths[at] -= 1
    wrapper = functools.partial(textwrap.TextWrapper, break_long_words=False, break_on_hyphens=False)
    found = []
    for row in rows:
        pieces = [
            wrapper(width=room).wrap(cell) if side else [cell]
            for cell, room, side in zip(row, widths, left, strict=True)
        ]
        found += [list(line) for line in itertools.zip_longest(*pieces, fillvalue='')]
    return found


def render(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    *,
    form: str = TABLE,
    notes: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """Return a table as text without a newline at its end.

    Args:
        columns: What each column is.
        rows: A value or a `Cell` for each column; None is absent.
        form: One of `FORMATS`.
        notes: Sentences that belong to it. CSV has no place for them: show them elsewhere.
        width: Letters in a line of whoever reads a plain table. It is made to fit if it can be, by
            folding its words, or with a column for each row.
    """
    filled = [list(row) for row in rows]
    if form in (JSON, CSV):
        chosen = [number for number, column in enumerate(columns) if column.name]
        names = [columns[number].name for number in chosen]
        values = [[_value(row[number]) for number in chosen] for row in filled]
        return _csv(names, values) if form == CSV else _json(names, values, notes)
    chosen = [number for number, column in enumerate(columns) if column.head]
    head = [columns[number].head for number in chosen]
    left = [columns[number].left for number in chosen]
    texts = [[_text(row[number]) for number in chosen] for row in filled]
    if form == MARKDOWN:
        return _markdown(head, texts, left, notes)
    if width is not None:
        head, texts, left = _fitted(head, texts, left, width)
    return '\n'.join([text_table(head, texts, left=left), *(['', *notes] if notes else [])])


def figure(value: float, digits: int) -> str:
    """Return a number with so many figures, never as a power of ten.

    Args:
        value: The number.
        digits: Figures; whole numbers with more keep them all.
    """
    text = f'{value:.{digits}g}'
    if 'e' not in text:
        return text
    if abs(value) >= 1:
        return f'{value:.0f}'
    return f'{value:.{digits - 1 - math.floor(math.log10(abs(value)))}f}'.rstrip('0')


def _value(cell: Any) -> Any:
    value = cell.value if isinstance(cell, Cell) else cell
    # JSON knows no infinity, and a reader of CSV shouldn't have to.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(cell: Any) -> str:
    if isinstance(cell, Cell):
        text = cell.text
    elif cell is None:
        text = ABSENT
    else:
        text = figure(cell, 4) if isinstance(cell, float) else str(cell)
    # What came from a file must neither break the table nor talk to the terminal.
    return ''.join(letter if letter.isprintable() else ' ' for letter in text)


def _json(names: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str]) -> str:
    found = {
        'rows': [dict(zip(names, row, strict=True)) for row in rows],
        'notes': list(notes),
    }
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)


def _csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(names)
    writer.writerows(rows)
    return file.getvalue().removesuffix('\n')


def _markdown(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool], notes: Sequence[str]
) -> str:
    ruler = ['---' if side else '---:' for side in left]
    lines = [head, ruler, *([cell.replace('|', '\\|') for cell in row] for row in rows)]
    text = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    return '\n'.join([text, *(['', *(f'- {note}' for note in notes)] if notes else [])])
