"""Where Parsl leaves its files: under a path that its commands can name.

Parsl writes the names of its files into shell commands as they are. A blank or a quote in one makes
another command of it: no worker starts, and what is named instead is overwritten and run.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from streambench.errors import ConfigError

# Letters of any language, digits, and signs that mean nothing to a shell.
PLAIN = re.compile(r'[\w@%+=:,./-]+')
NAME = 'runinfo'


class Place:
    """The directory of Parsl's files.

    Args:
        directory: Where it lies.

    Attributes:
        link: Directory that holds another name of it, or None if its own will do.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self.link: str | None = None

    def path(self, *, here: bool) -> str:
        """Return a path to it that a shell takes for one word.

        Args:
            here: Whether only processes of this machine use it.

        Raises:
            ConfigError: If it has none that other machines see too.
        """
        place = self._directory / NAME
        if PLAIN.fullmatch(str(place)):
            return str(place)
        if not here:
            raise ConfigError(
                f'--run-dir: the nodes can not use {str(self._directory)!r}, since Parsl writes it '
                'into shell commands as it is: take a directory without blanks, quotes and the like.'
            )
        # A help text needs no temporary files.
        import tempfile

        place.mkdir(exist_ok=True)
        self.link = tempfile.mkdtemp(prefix='streambench-parsl-')
        other = Path(self.link) / NAME
        other.symlink_to(place)
        return str(other)

    def close(self) -> None:
        """Remove the other name."""
        if self.link is not None:
            shutil.rmtree(self.link, ignore_errors=True)
