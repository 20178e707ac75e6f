"""Rows that leave memory as they come: each is packed into a few machine words.

Numbers stand side by side as words; texts and flags are the same in most rows, so a row holds the
number of its combination of them. A column is then a slice of the words, and no value of it becomes a
Python object again. What is packed and how follows from the record's schema.
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from streambench.records import SCHEMA_VERSION, ItemRow, LagRow, LoopSecondRow, SeriesRow, StallRow

if TYPE_CHECKING:
    import pyarrow

Row = ItemRow | SeriesRow | LoopSecondRow | LagRow | StallRow

# Of the formats of eight bytes the one that struct converts the fastest.
WORD = 'n'
ABSENT = -(1 << 63)


def kinds_of(record: type[Row]) -> dict[str, type]:
    """Return the type of each column of a record, that of an optional one where it is there."""
    found: dict[str, type] = {}
    hints = typing.get_type_hints(record)
    for entry in fields(record):
        arms = typing.get_args(hints[entry.name])
        found[entry.name] = next((arm for arm in arms if arm is not type(None)), hints[entry.name])
    return found


def required_of(record: type[Row]) -> tuple[str, ...]:
    """Return the columns of a record that are never absent."""
    hints = typing.get_type_hints(record)
    return tuple(name for name in kinds_of(record) if type(None) not in typing.get_args(hints[name]))


def schema_of(record: type[Row]) -> pyarrow.Schema:
    """Return the Parquet schema of a record."""
    import pyarrow

    types = {
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        str: pyarrow.string(),
        bool: pyarrow.bool_(),
    }
    kinds = kinds_of(record)
    return pyarrow.schema(
        [
            pyarrow.field(
                entry.name,
                types[kinds[entry.name]],
                metadata={'doc': entry.metadata['doc'], 'unit': entry.metadata['unit']},
            )
            for entry in fields(record)
        ],
        metadata={'schema_version': str(SCHEMA_VERSION)},
    )


def table_of(rows: Sequence[Row], record: type[Row]) -> pyarrow.Table:
    """Return a few rows as a table."""
    import pyarrow

    return pyarrow.table(
        {name: [getattr(row, name) for row in rows] for name in kinds_of(record)},
        schema=schema_of(record),
    )


class _Codes(dict[tuple[Any, ...], int]):
    """Numbers of combinations, given in the order in which they appear."""

    def __missing__(self, combination: tuple[Any, ...]) -> int:
        code = self[combination] = len(self)
        return code


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows that were packed.

    Attributes:
        words: The rows, one after the other.
        combinations: Texts and flags by the number in a row's last word.
        gaps: Whether any number is absent.
    """

    words: bytearray
    combinations: Sequence[tuple[Any, ...]]
    gaps: bool


class Packer:
    """Packs rows of a record.

    Args:
        record: Their class; its columns that are filled in when rows are sealed stay absent.
    """

    def __init__(self, record: type[Row]) -> None:
        kinds = kinds_of(record)
        self._late = [entry.name for entry in fields(record) if entry.metadata['late']]
        self._record = record
        self._numbers = [name for name, kind in kinds.items() if kind is int and name not in self._late]
        self._texts = [name for name, kind in kinds.items() if kind in (str, bool)]
        others = {*kinds} - {*self._numbers, *self._texts, *self._late}
        assert not others, f'not packed: {" ".join(sorted(others))}'
        self._pack = struct.Struct(f'{len(self._numbers) + 1}{WORD}').pack
        self._packed = _packing(self._numbers, self._texts)
        self._begin()

    def _begin(self) -> None:
        self._words = bytearray()
        self._codes = _Codes()
        self._gaps = False
        self.count = 0

    def add(self, row: Row) -> None:
        """Pack a row, which is then no longer needed."""
        try:
            self._words += self._packed(row, self._pack, self._codes)
        except struct.error:
            numbers = [getattr(row, name) for name in self._numbers]
            code = self._codes[tuple(getattr(row, name) for name in self._texts)]
            self._words += self._pack(*(ABSENT if n is None else n for n in numbers), code)
            self._gaps = True
        self.count += 1

    def take(self) -> Packed:
        """Return what was packed and begin anew."""
        packed = Packed(self._words, list(self._codes), self._gaps)
        self._begin()
        return packed

    def table(self, packed: Packed) -> pyarrow.Table:
        """Return packed rows as a table; in whatever thread."""
        import pyarrow
        import pyarrow.compute as compute

        schema = schema_of(self._record)
        words = memoryview(packed.words).cast('q')
        width = len(self._numbers) + 1
        count = len(words) // width

        def numbers(place: int) -> pyarrow.Array:
            data = pyarrow.py_buffer(words[place::width].tobytes())
            return pyarrow.Array.from_buffers(pyarrow.int64(), count, [None, data])

        columns: dict[str, Any] = {name: numbers(place) for place, name in enumerate(self._numbers)}
        if packed.gaps:
            for name, values in columns.items():
                there = compute.not_equal(values, ABSENT)
                columns[name] = compute.if_else(there, values, pyarrow.scalar(None, pyarrow.int64()))
        texts = pyarrow.table(
            dict(zip(self._texts, zip(*packed.combinations, strict=True), strict=True)),
            schema=pyarrow.schema([schema.field(name) for name in self._texts]),
        ).take(numbers(width - 1))
        columns |= {name: texts[name] for name in self._texts}
        columns |= {name: pyarrow.nulls(count, schema.field(name).type) for name in self._late}
        return pyarrow.table([columns[name] for name in schema.names], schema=schema)


def _packing(numbers: Sequence[str], texts: Sequence[str]) -> Callable[..., bytes]:
    """Return what packs a row, written out: a call for each value would take longer than all else."""
    values = ', '.join(f'row.{name}' for name in numbers)
    combination = ', '.join(f'row.{name}' for name in texts)
    packing: Callable[..., bytes] = eval(
        f'lambda row, pack, codes: pack({values}, codes[{combination}])'
    )
    return packing
