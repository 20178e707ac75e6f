"""`streambench loop --pid` on live processes that know nothing of it; before Python 3.14 a refusal."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streambench.loop_monitor import LoopMonitor, LoopReport, command
from streambench.loop_monitor.attach import read_report
from streambench.loop_monitor.refusals import LoopMonitorError

ROOT = Path(__file__).parent.parent.parent
END_S = 60.0
ATTACHES = hasattr(sys, 'remote_exec')
attaching = pytest.mark.skipif(not ATTACHES, reason='sys.remote_exec came with Python 3.14')

LIVE = """
import asyncio, os, sys, time

def load_settings():
    time.sleep(0.04)

async def main():
    print('ready', flush=True)
    loop = asyncio.get_running_loop()
    until = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < until:
        await asyncio.sleep(0.1)
        load_settings()
    selector = getattr(loop, '_selector', None)
    print('select' in vars(selector) if selector else False, len(asyncio.all_tasks()))

if sys.argv[1] == 'none':
    print('ready', flush=True)
    until = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < until:
        time.sleep(0.01)
elif sys.argv[1] == 'uvloop':
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@contextmanager
def live(kind: str, seconds: float, place: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and let it end by itself."""
    file = place / 'live.py'
    file.write_text(LIVE, encoding='utf-8')
    with subprocess.Popen(
        [sys.executable, str(file), kind, str(seconds)], stdout=subprocess.PIPE, text=True, cwd=place
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'ready\n'
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def watcher(words: Sequence[str], place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-m', 'streambench', 'loop', *words],
        cwd=place,
        env={'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


class Hostile:
    """What would run a command where it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (['false'],)


def test_a_report_is_read_back(tmp_path: Path) -> None:
    """All parts of it are known where it is read."""

    async def watched() -> LoopReport:
        async with LoopMonitor('fine') as monitor:
            await asyncio.sleep(0.05)
            gc.collect()
        return monitor.report()

    report = asyncio.run(watched())
    file = tmp_path / 'report'
    file.write_bytes(pickle.dumps(report))
    assert read_report(file) == report


@pytest.mark.parametrize(
    'content', [pickle.dumps(Hostile()), pickle.dumps(['x']), b'', b'no pickle', pickle.dumps(Path)]
)
def test_what_is_no_report_is_not_made(content: bytes, tmp_path: Path) -> None:
    """The process that leaves it may be somebody else's."""
    file = tmp_path / 'report'
    file.write_bytes(content)
    with pytest.raises(LoopMonitorError, match='is no report'):
        read_report(file)


@attaching
@pytest.mark.parametrize(('kind', 'words'), [('asyncio', ['--exact']), ('asyncio', []), ('uvloop', [])])
def test_a_live_process_is_watched_and_goes_on(kind: str, words: list[str], tmp_path: Path) -> None:
    with live(kind, 6, tmp_path) as process:
        for _ in range(2):
            with watcher(
                [*words, '--pid', str(process.pid), '--duration', '1', '--json', 'x.json'], tmp_path
            ) as watching:
                out, errors = watching.communicate(timeout=END_S)
            assert (watching.returncode, out) == (0, ''), errors
            found = json.loads((tmp_path / 'x.json').read_text())
            assert found['culprits'][0]['leaf']['function'] == 'load_settings'
            assert [loop['loop'] for loop in found['loops']] == [kind]
            assert found['loops'][0]['wall_s'] == pytest.approx(1, abs=0.3)
            assert found['loops'][0]['exact'] == bool(words)
        out, _ = process.communicate(timeout=END_S)
    # Its selector is its own again, and no task was left.
    assert (process.returncode, out) == (0, 'False 1\n')


@attaching
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watching_with_a_report(number: signal.Signals, tmp_path: Path) -> None:
    with (
        live('asyncio', 4, tmp_path) as process,
        watcher(['--pid', str(process.pid), '--level', 'fine'], tmp_path) as watching,
    ):
        assert watching.stderr is not None
        assert 'until Ctrl-C' in watching.stderr.readline()
        with watcher(['--pid', str(process.pid)], tmp_path) as another:
            _, errors = another.communicate(timeout=END_S)
        assert another.returncode == 2
        assert "has a monitor already (level 'fine')" in errors
        watching.send_signal(number)
        _, errors = watching.communicate(timeout=END_S)
        assert watching.returncode == 0, errors
        assert 'live.py:5 load_settings' in errors


@attaching
def test_a_process_that_ends_leaves_its_report(tmp_path: Path) -> None:
    with (
        live('asyncio', 1.5, tmp_path) as process,
        watcher(['--pid', str(process.pid)], tmp_path) as watching,
    ):
        _, errors = watching.communicate(timeout=END_S)
        assert watching.returncode == 0, errors
        assert 'live.py:5 load_settings' in errors


@attaching
def test_a_process_without_a_loop_is_told(tmp_path: Path) -> None:
    with (
        live('none', 2, tmp_path) as process,
        watcher(['--pid', str(process.pid)], tmp_path) as watching,
    ):
        _, errors = watching.communicate(timeout=END_S)
        assert watching.returncode == 2
        assert 'no event loop runs in its main thread' in errors


def test_what_can_not_be_watched_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Without Python 3.14 there is a remedy; a process that isn't there can't be looked into."""
    assert command.main(['--pid', str(2**22 + 1)]) == 2
    said = 'can not be looked into' if ATTACHES else '--pid needs Python 3.14 or newer'
    assert said in capsys.readouterr().err
    assert command.main(['--pid', '1', 'program.py']) == 2
    assert 'leave out the program' in capsys.readouterr().err
