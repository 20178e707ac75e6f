"""A leash: what the commands on it leave behind is removed, also when it was killed itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streambench import leash
from tests.living import until

WITHIN_S = 20.0


@contextmanager
def start(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a command that never ends, with a directory for what it leaves; yield both."""
    before = set(root.iterdir())
    words = leash.command(sys.executable, '-c', 'import time; time.sleep(600)', scratch=True)

    def made() -> list[Path]:
        return [path for path in set(root.iterdir()) - before if (path / leash.LOCK).exists()]

    with subprocess.Popen(words, env={**os.environ, 'TMPDIR': str(root)}) as process:
        try:
            assert until(made, within_s=WITHIN_S)
            yield process, made()[0]
        finally:
            process.terminate()


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a directory with a short name: where it is long no directories are made for commands."""
    with tempfile.TemporaryDirectory(prefix='t-', dir='/tmp') as name:
        yield Path(name)


def test_what_a_killed_leash_left_goes_with_the_next(root: Path) -> None:
    """Whoever lives keeps its own, and so does anybody whose directory has a like name."""
    foreign = root / 'sb-foreign'
    foreign.mkdir()
    with start(root) as (_, its_own), start(root) as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.exists()
        with start(root) as (_, own):
            assert set(root.iterdir()) == {foreign, its_own, own}
    assert set(root.iterdir()) == {foreign}
