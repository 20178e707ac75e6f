"""The sealed files of one kind of row: whole Parquet files, each there at once by a rename."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.packing import Row, kinds_of

if TYPE_CHECKING:
    import pyarrow

# Looked at once a second, so that it is three seconds, however long the first conversion takes.
SEAL_S = 2.5
SEAL_ROWS = 20_000


class Parts:
    """The parts of one kind of row; used by the writing thread only.

    Args:
        directory: Where they go; made for the first.
        record: Class of the rows.

    Attributes:
        completing: Fills in what is known only when rows are sealed.
        paths: The parts so far.
    """

    def __init__(self, directory: Path, record: type[Row]) -> None:
        self._directory = directory
        kinds = kinds_of(record)
        self._texts = [name for name, kind in kinds.items() if kind is str]
        # Instants differ by little from row to row and don't repeat.
        self._encodings = {name: 'DELTA_BINARY_PACKED' for name, kind in kinds.items() if kind is int}
        self._tables: list[pyarrow.Table] = []
        self._rows = 0
        self._since = time.monotonic()
        self.completing: Callable[[pyarrow.Table], pyarrow.Table] | None = None
        self.paths: list[Path] = []

    def add(self, table: pyarrow.Table) -> None:
        """Take rows; they are sealed with others a few seconds later."""
        if not self._tables:
            self._since = time.monotonic()
        self._tables.append(table)
        self._rows += table.num_rows

    def seal_if_due(self) -> None:
        """Write what was taken, if it is much or was taken a while ago.

        Raises:
            OSError: If the disk is full or gone.
        """
        if self._rows >= SEAL_ROWS or time.monotonic() - self._since >= SEAL_S:
            self.seal()

    def seal(self) -> None:
        """Write what was taken.

        Raises:
            OSError: If the disk is full or gone.
        """
        if not self._rows:
            return
        import pyarrow
        import pyarrow.parquet

        # One chunk per column is written and read the fastest.
        table = pyarrow.concat_tables(self._tables).combine_chunks()
        self._tables, self._rows = [], 0
        if self.completing is not None:
            table = self.completing(table)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self._directory / f'part-{len(self.paths):04d}.parquet'
        unsealed = path.with_suffix('.tmp')
        try:
            pyarrow.parquet.write_table(
                table, unsealed, use_dictionary=self._texts, column_encoding=self._encodings
            )
        except OSError:
            unsealed.unlink(missing_ok=True)
            raise
        unsealed.rename(path)
        self.paths.append(path)
