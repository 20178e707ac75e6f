"""Plugins of another package: found by its entry points, listed, described, refused, and run."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent / 'third_party'
ENTRY_POINTS = """\
[streambench.brokers]
queue = acme_streams.broker:QueueBroker

[streambench.executors]
crew = acme_streams.executor:CrewExecutor
gone = acme_streams.gone:GoneExecutor

[streambench.connectors]
shelf = acme_streams.connector:ShelfPlugin
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a Python in which such a package is installed."""
    metadata = tmp_path / 'site' / 'acme_streams-1.0.dist-info'
    metadata.mkdir(parents=True)
    (metadata / 'METADATA').write_text('Metadata-Version: 2.1\nName: acme-streams\nVersion: 1.0\n')
    (metadata / 'entry_points.txt').write_text(ENTRY_POINTS)
    return os.environ | {'PYTHONPATH': os.pathsep.join([str(metadata.parent), str(PACKAGES)])}


def streambench(environment: dict[str, str], place: Path, *words: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, what it printed and what it said aside."""
    done = subprocess.run(
        [sys.executable, '-m', 'streambench', *words],
        env=environment,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_all_three_run_together(installed: dict[str, str], tmp_path: Path) -> None:
    """Broker, executor and connector of another package make a valid run, with options of theirs."""
    words = ['--stream', 'queue', '--queue-depth', '7', '--executor', 'crew', '--ps-connector', 'shelf']
    plan = ['--shelf-dir', 'shelf', '--task-count', '20', '--task-sleep', '0.01', '--load', '0.5']
    sizes = ['--data-size-bytes', '1kB', '--run-dir', 'runs']
    code, out, err = streambench(installed, tmp_path, 'run', *words, *plan, *sizes)
    assert code == 0, err
    assert 'queue + shelf · crew: 4 workers = 1 generator + 3 compute' in out
    (path,) = tmp_path.glob('runs/*/results.csv')
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['method'] for row in rows] == ['default', 'proxy']
    for row in rows:
        assert (row['completed_tasks'], row['lost'], row['corrupt']) == ('20', '0', '0')
        assert (row['stream'], row['executor_plugin']) == ('queue', 'crew')
    assert rows[1]['connector'] == 'ShelfConnector'
    assert list((tmp_path / 'shelf').iterdir()) == []
    # A plan of the file repeats it, options of other packages included.
    assert 'queue_depth = 7' in (path.parent / 'config.toml').read_text()


def test_help_of_a_chosen_plugin_shows_its_options(installed: dict[str, str], tmp_path: Path) -> None:
    """Whoever names a plugin of another package before `--help` sees its flags."""
    code, out, _ = streambench(installed, tmp_path, 'run', '--stream', 'queue', '--help')
    assert code == 0
    assert '--queue-depth INT' in out
    assert 'redis, kafka, memory, queue' in out
    assert '--queue-depth' in streambench(installed, tmp_path, 'run', '--stream=queue', '-h')[1]


def test_list_shows_them_and_what_is_broken(installed: dict[str, str], tmp_path: Path) -> None:
    """An entry point that leads nowhere is a line of the list, not an end of it."""
    code, out, _ = streambench(installed, tmp_path, 'list', '--format', 'csv')
    assert code == 0
    assert 'broker,queue,ready,,an asyncio.Queue in this process' in out
    assert 'connector,shelf,ready,,files on a shelf' in out
    assert "executor,gone,needs repair,,executor 'gone' can not be loaded from" in out


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['--stream', 'qeue'], "unknown broker 'qeue': did you mean queue?"),
        (['--stream', 'queue', '--queue-dept', '3'], 'did you mean --queue-depth?'),
        (['--stream', 'queue', '--queue-depth', '0'], "--queue-depth: '0' must be a whole number"),
        (['--ps-connector', 'shelf', '--executor', 'thread'], '--ps-connector shelf needs --shelf-dir'),
        (['--queue-depth', '3', '--stream', 'memory'], '--queue-depth belongs to --stream queue'),
        (['--config', 'plan.toml'], "there is no option 'queue_dept'; did you mean queue_depth?"),
    ],
)
def test_mistakes_are_answered_as_with_our_own(
    installed: dict[str, str], tmp_path: Path, words: list[str], sentence: str
) -> None:
    """Options of other packages are checked, and misspelt ones recognized."""
    (tmp_path / 'plan.toml').write_text('stream = "queue"\nqueue_dept = 3\n')
    code, _, err = streambench(installed, tmp_path, 'run', '--dry-run', *words)
    assert code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ('body', 'sentence'),
    [
        ('Plugin = 3', 'is no plugin: it must be a frozen dataclass'),
        ('1 / 0', 'can not be loaded from odd:Plugin: division by zero'),
        (
            'from streambench.executors.base import ExecutorPlugin as Plugin',
            'is not complete: it lacks ahead, class_name, in_process, name, open, summary.',
        ),
        (
            'from acme_streams.executor import CrewExecutor as Plugin',
            "calls itself 'crew': give its entry point and its class one name.",
        ),
    ],
)
def test_what_the_author_forgot_is_said(
    installed: dict[str, str], tmp_path: Path, body: str, sentence: str
) -> None:
    """A class that is no plugin, or not all of one, is a sentence and no traceback."""
    site = tmp_path / 'site'
    (site / 'odd.py').write_text(f'{body}\n')
    points = site / 'acme_streams-1.0.dist-info' / 'entry_points.txt'
    points.write_text('[streambench.executors]\nodd = odd:Plugin\n')
    code, _, err = streambench(installed, tmp_path, 'run', '--executor', 'odd', '--dry-run')
    assert (code, len(err.splitlines())) == (2, 1)
    assert sentence in err
