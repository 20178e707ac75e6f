"""A leash: what the commands on it leave behind is removed, also when it was killed itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from streambench import leash
from tests.living import until

WITHIN_S = 20.0


def start(root: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a command that never ends, with a directory for what it leaves; return both."""
    before = set(root.iterdir())
    words = leash.command(sys.executable, '-c', 'import time; time.sleep(600)', scratch=True)
    process = subprocess.Popen(words, env={**os.environ, 'TMPDIR': str(root)})

    def made() -> list[Path]:
        return [path for path in set(root.iterdir()) - before if (path / leash.LOCK).exists()]

    assert until(made, within_s=WITHIN_S)
    return process, made()[0]


def test_what_a_killed_leash_left_goes_with_the_next(tmp_path: Path) -> None:
    """Whoever lives keeps its own, and so does anybody whose directory has a like name."""
    foreign = tmp_path / 'sb-foreign'
    foreign.mkdir()
    alive, its_own = start(tmp_path)
    killed, left = start(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.exists()
    last, own = start(tmp_path)
    assert set(tmp_path.iterdir()) == {foreign, its_own, own}
    for process in (alive, last):
        process.terminate()
        process.wait()
    assert set(tmp_path.iterdir()) == {foreign}
