"""The connector `file`: objects as files of a shared directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConnectorError, in_one_line
from streambench.kinds import text
from streambench.options import option
from streambench.threads import whole

if TYPE_CHECKING:
    from streambench.connectors.store import OpenStore


@dataclass(frozen=True, kw_only=True)
class FileConnectorPlugin(ConnectorPlugin):
    """ProxyStore's FileConnector in a fresh directory below the given one.

    The connector removes its directory when it closes, so it never gets the user's own.
    """

    name: ClassVar[str] = 'file'
    class_name: ClassVar[str] = 'FileConnector'
    summary: ClassVar[str] = 'files of a directory that every worker sees'
    tested: ClassVar[str] = 'yes'
    packages: ClassVar[tuple[str, ...]] = ('proxystore',)
    install: ClassVar[str] = 'pip install proxystore'

    ps_file_dir: str | None = option(
        'Directory in which the store makes one of its own.',
        text('DIR'),
        group='connector',
        required=True,
    )

    @property
    def title(self) -> str:
        """What the store is and where, for errors."""
        return f'file store in {self.ps_file_dir!r}'

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return 'name a --ps-file-dir that they all see'

    def not_opened(self, error: Exception) -> ConnectorError:
        """Return what to say of a directory in which no other can be made."""
        why = error.strerror if isinstance(error, OSError) else in_one_line(error)
        return ConnectorError(
            f'--ps-file-dir: in {self.ps_file_dir!r} no directory can be made ({why}): name one that '
            'every worker can write.'
        )

    def _directory(self, name: str) -> Path:
        assert self.ps_file_dir is not None
        return Path(self.ps_file_dir).absolute() / name

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[OpenStore]:
        """Open a store; directories that were made for it are removed again, unless somebody uses them.

        Args:
            name: Name under which worker threads of this process find it.

        Raises:
            ConnectorError: If the directory can't be made or written.
        """
        made: list[Path] = []
        try:
            await whole(self._make, made)
            async with super().open(name) as store:
                yield store
        finally:
            await whole(_remove_empty, made)

    def _make(self, made: list[Path]) -> None:
        """Make the directory and what is missing above it, and note what was made."""
        wanted = self._directory('').resolve()
        try:
            missing = [path for path in (wanted, *wanted.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                made.append(path)
            # If it is there and no directory, this says so.
            wanted.mkdir(exist_ok=True)
        except OSError as error:
            raise ConnectorError(
                f'--ps-file-dir: {self.ps_file_dir!r} can not be made ({error.strerror}): name a '
                'directory that every worker can write.'
            ) from None

    def check(self) -> None:
        """Raise ConnectorError if the directory can't be written."""
        assert self.ps_file_dir is not None
        if not os.access(self.ps_file_dir, os.W_OK):
            raise ConnectorError(
                f'--ps-file-dir: {self.ps_file_dir!r} is not writable: name a directory that every '
                'worker can write.'
            )

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        module = 'proxystore.connectors.file'
        arguments = {'store_dir': str(self._directory(name)), 'clear': False}
        return f'{module}.FileConnector', arguments, f'{module}:FileKey'

    def clean(self, name: str) -> None:
        """Remove the store's own directory."""
        shutil.rmtree(self._directory(name), ignore_errors=True)


def _remove_empty(made: list[Path]) -> None:
    """Remove directories, the deepest first, as far as they are empty."""
    with suppress(OSError):
        for path in reversed(made):
            path.rmdir()
