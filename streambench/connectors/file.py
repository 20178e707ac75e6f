"""The connector `file`: objects as files of a shared directory."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConnectorError, in_one_line
from streambench.kinds import text
from streambench.options import option


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

    def check(self) -> None:
        """Raise ConnectorError if the directory can't be written."""
        assert self.ps_file_dir is not None
        try:
            Path(self.ps_file_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConnectorError(
                f'--ps-file-dir: {self.ps_file_dir!r} can not be made ({error.strerror}): name a '
                'directory that every worker can write.'
            ) from None
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
