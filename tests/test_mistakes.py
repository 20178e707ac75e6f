"""Every mistake gets one sentence and its exit code; nothing is left running or lying about.

Mistakes in the configuration are made in this process; the others by the command itself, in a
directory and with a mark in the environment of its own.
"""

from __future__ import annotations

import csv
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from streambench.cli import main
from streambench.errors import EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_OK, EXIT_RUN
from tests.living import none_left, processes, until
from tests.redis_server import RedisServer

MARK = 'STREAMBENCH_TEST_MARK'
END_S = 60.0
GONE_S = 10.0
AT_ONCE = 3
ROOT = Path(__file__).resolve().parent.parent

# Several at a time on few cores: what they measure must not decide how they end.
NO_VERDICT = '--bound late_invalid_s=60 loop_busy=60'
QUICK = f'--executor thread --task-count 6 --task-sleep 0.02 --data-size-bytes 1kB {NO_VERDICT}'
MEMORY = f'{QUICK} --stream memory --stream-method default'
REDIS = f'{QUICK} --stream-method default'
PROXY = f'{QUICK} --stream-method proxy --stream memory'

FILES = {
    'unknown.toml': 'task_coutn = 5',
    'dashes.toml': 'task-count = 5',
    'flag.toml': 'max_workers = 5',
    'broken.toml': 'task_count = [1, 2',
    'list.toml': 'task_count = [1, 2]',
    'type.toml': 'stream_option = 5',
    'table.toml': '[stream]\nservers = 1',
    'huge.toml': f'task_count = 1{"0" * 400}',
    'digits.toml': f'task_count = 1{"0" * 9000}',
    'nan.toml': 'task_sleep = nan',
    'date.toml': 'seed = 2026-01-01',
    'secret.toml': 'stream_password = "geheim"',
    'number.toml': 'sweep = 5',
    'empty.toml': '[sweep]\ntask_count = []',
    'plan.toml': '[sweep]\nseed = [1, 2]',
    'directory.toml': '[sweep]\nrun_dir = ["a", "b"]',
    'swept.toml': '[sweep]\nseeed = [1, 2]',
    'stray.toml': 'executor = "thread"\nparsl_prefetch = 2',
    'size.toml': 'data_size_bytes = [1, "x"]',
    'both.toml': 'load = 1\nrate = 5',
}

CONFIGURATION = [
    # Words that are no command, no flag, or no value.
    ('rnu', ["'rnu'", 'did you mean run?']),
    ('measure', ["'measure'", '`streambench --help`']),
    ('run now', ["'now'", '--help']),
    ('--foo', ['--foo', '--help']),
    ('list --all', ['--all']),
    ('run --task-cuont 5', ['--task-cuont', 'did you mean --task-count?']),
    ('run --task_count 5', ['--task_count', 'did you mean --task-count?']),
    ('run --workers 5', ['--workers', 'did you mean --max-workers?']),
    ('run --task-count', ['--task-count', 'expected one argument']),
    ('run --max-work 5', ['--max-work', '--max-workers']),
    # Numbers.
    ('run --data-size-bytes 0', ['--data-size-bytes', "'0'", 'at least 1']),
    ('run --data-size-bytes -5', ["'-5'", 'at least 1']),
    ('run --data-size-bytes -5kB', ["'-5kB'", 'at least 1']),
    ('run --data-size-bytes 10XB', ["'10XB'", '100kB or 1MB']),
    ('run --data-size-bytes 1.5', ["'1.5'", 'whole number']),
    ('run --data-size-bytes many', ["'many'", '100kB or 1MB']),
    ('run --data-size-bytes 1000TB', ['memory', 'at most']),
    ('run --data-size-bytes 1e300', ['at most']),
    ('run --task-count 0', ['--task-count', "'0'", 'at least 1']),
    ('run --task-count -3', ["'-3'", 'at least 1']),
    ('run --task-count 1.5', ["'1.5'", 'whole number']),
    ('run --task-count x', ["'x'", 'must be a number']),
    ('run --task-count 1e30', ["'1e30'", 'at most']),
    ('run --task-sleep -1', ['--task-sleep', "'-1'", 'at least 0']),
    ('run --task-sleep 1e300', ["'1e300'", 'at most']),
    ('run --task-sleep 1e-200', ['--task-sleep 1e-200', '--rate max']),
    ('run --task-sleep inf', ["'inf'", 'finite']),
    ('run --rate 0', ['--rate', "'0'", 'or max']),
    ('run --rate -1e3', ["'-1e3'", 'or max']),
    ('run --rate 1e-300', ["'1e-300'", 'or max']),
    ('run --rate fast', ["'fast'", 'or max']),
    ('run --load 0', ['--load', "'0'", 'at least']),
    ('run --max-workers 0', ['--max-workers', "'0'", 'at least 1']),
    ('run --max-workers 99999999', ["'99999999'", 'at most']),
    ('run --repeat 9999999', ['--repeat 9999999', 'at most']),
    ('run --seed -1', ['--seed', "'-1'", 'at least 0']),
    ('run --seed 99999999999999999999', ['--seed', 'at most']),
    ('run --ps-host localhost --ps-port 70000', ['--ps-port', "'70000'", 'at most 65535']),
    # Options that contradict each other, or say nothing.
    ('run --load 1 --rate 5', ['--load 1', '--rate 5', 'one of them']),
    ('run --load 1 --task-sleep 0', ['--load 1', '--task-sleep 0', '--rate']),
    ('run --max-outstanding 5', ['--max-outstanding 5', '--rate max']),
    ('run --max-workers 4 --parsl-max-workers 8', ['--max-workers 4', '--parsl-max-workers 8', 'one']),
    ('run --thread-pool-max-workers 2 --process-pool-max-workers 3', ['2', '3', 'one value']),
    ('run --csv-file log.jsonl', ['--csv-file', '--log-file', 'log.jsonl', 'another']),
    ('run --csv-file config.toml', ['--csv-file', "'config.toml'", 'another']),
    ('run --csv-file=', ['--csv-file', "''", 'not empty']),
    # Plugins: unknown, without what they need, with what belongs to others.
    ('run --stream kafak', ["'kafak'", 'did you mean kafka?']),
    ('run --executor pool', ["'pool'", 'thread, process, parsl']),
    ('run --ps-connector redsi', ["'redsi'", 'did you mean redis?']),
    ('run --stream kafka', ['--stream kafka', '--stream-servers HOST:PORT', 'scripts/kafka']),
    ('run --ps-connector file', ['--ps-connector file', '--ps-file-dir DIR']),
    ('run --ps-host x', ['--ps-host', '--ps-port']),
    ('run --ps-port 1', ['--ps-port', '--ps-host']),
    ('run --ps-host x --ps-port 1 --ps-url-file f', ['--ps-url-file', 'not both']),
    ('run --stream-servers x:1 --stream-url-file f', ['--stream-url-file', 'not both']),
    ('run --ps-file-dir d', ['--ps-file-dir', '--ps-connector file', '--ps-connector redis']),
    ('run --stream-method default --ps-file-dir d', ['--ps-file-dir', '--ps-connector file']),
    ('run --stream memory --stream-servers x:1', ['--stream-servers', '--stream memory', 'leave']),
    ('run --executor thread --parsl-executor thread', ['--parsl-executor', '--executor thread']),
    ('run --executor thread --parsl-prefetch 3', ['--parsl-prefetch', '--executor parsl']),
    ('run --executor process --ps-connector local', ['--ps-connector local', 'redis or file']),
    ('run --stream-option socket_timeout', ['socket_timeout', 'KEY=VALUE']),
    ('run --stream-option sokcet_timeout=1', ["'sokcet_timeout'", 'did you mean socket_timeout?']),
    ('run --stream-option socket_timeout=long', ['socket_timeout=long', 'must be a number']),
    ('run --stream-option socket_read_size=-5', ['socket_read_size=-5', 'at least 1']),
    ('run --generator worker --max-workers 1', ['--max-workers 1', '--generator loop']),
    ('run --generator worker --rate max', ['--generator worker', '--rate max', 'number']),
    ('run --generator worker --task-sleep 0', ['--generator worker', '--task-sleep 0']),
    ('run --generator worker --stream memory', ['--stream memory', '--executor thread']),
    ('run --generator worker --ps-connector local', ['--ps-connector local', 'redis or file']),
    ('run --generator elsewhere', ["'elsewhere'", 'loop, worker']),
    ('run --loop trio', ["'trio'", 'uvloop, asyncio']),
    ('run --stream-method none', ["'none'", 'default, proxy']),
    # Addresses, and passwords that would be recorded.
    ('run --stream-servers host:port', ["'host:port'", 'HOST:PORT']),
    ('run --stream-servers host:0', ["'host:0'", 'from 1 to 65535']),
    ('run --stream-servers a:1,b:2', ["'a:1,b:2'", 'one address']),
    ('run --ps-host localhost:6379 --ps-port 6379', ["'localhost:6379'", 'its port']),
    ('run --stream-servers redis://:geheim@host', ['$STREAMBENCH_STREAM_PASSWORD', 'url-file']),
    ('run --stream-servers :geheim@host:6379', ['$STREAMBENCH_STREAM_PASSWORD']),
    ('run --ps-host redis://:geheim@host --ps-port 1', ['$STREAMBENCH_PS_PASSWORD', '--ps-url-file']),
    ('run --stream-password geheim', ['--stream-password', '$STREAMBENCH_STREAM_PASSWORD']),
    ('run --ps-password=geheim', ['--ps-password', '$STREAMBENCH_PS_PASSWORD']),
    ('run --stream-option password=geheim', ['password', '$STREAMBENCH_STREAM_PASSWORD']),
    # Files of options.
    ('run --config', ['--config', 'expected one argument']),
    ('run --config nothing.toml', ["'nothing.toml'", 'No such file']),
    ('run --config .', ["'.'", 'Is a directory']),
    ('run --config unknown.toml', ['unknown.toml', "'task_coutn'", 'did you mean task_count?']),
    ('run --config dashes.toml', ["'task-count'", 'did you mean task_count?']),
    ('run --config flag.toml', ["'max_workers'", 'did you mean workers?']),
    ('run --config broken.toml', ["'broken.toml'", 'not TOML', 'Unclosed array']),
    ('run --config list.toml', ['[1, 2]', 'single value', '[sweep]']),
    ('run --config type.toml', ['--stream-option', '5', 'KEY=VALUE']),
    ('run --config table.toml', ['--stream', 'single value']),
    ('run --config huge.toml', ['--task-count', 'at most']),
    ('run --config digits.toml', ['digits.toml', 'not TOML']),
    ('run --config nan.toml', ['--task-sleep', 'nan', 'finite']),
    ('run --config date.toml', ['--seed', 'must be a number']),
    ('run --config secret.toml', ['stream_password', '$STREAMBENCH_STREAM_PASSWORD']),
    ('run --config number.toml', ['[sweep]', 'table']),
    ('run --config empty.toml', ['[sweep]', 'task_count', 'at least one']),
    ('run --config plan.toml', ['[sweep]', 'seed', 'can not vary']),
    ('run --config directory.toml', ['[sweep]', 'run_dir', 'can not vary']),
    ('run --config swept.toml', ["'seeed'", 'did you mean seed?']),
    ('run --config stray.toml', ['--parsl-prefetch', '--executor thread']),
    ('run --config size.toml', ['--data-size-bytes', "'x'"]),
    ('run --config both.toml', ['--load 1', '--rate 5']),
]


@pytest.mark.parametrize(('line', 'words'), CONFIGURATION, ids=[line for line, _ in CONFIGURATION])
def test_a_mistake_in_the_configuration_is_one_sentence(
    line: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says what, the value and the remedy, ends with 2, makes nothing, repeats no password."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding='utf-8')
    assert main(line.split()) == EXIT_CONFIG
    said = capsys.readouterr()
    assert said.out == ''
    assert_one_sentence(said.err, words)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def assert_one_sentence(errors: str, words: list[str]) -> None:
    """Assert that the last line is the only sentence of ours, and has these words; no traceback."""
    assert 'Traceback' not in errors
    assert 'geheim' not in errors
    (sentence,) = [line for line in errors.splitlines() if line.startswith('streambench: ')]
    assert errors.rstrip().endswith(sentence)
    assert sentence.endswith(('.', '?'))
    for word in words:
        assert word in sentence


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, and what it should come to.

    Attributes:
        line: Words after `streambench`.
        code: Its exit code.
        words: What must be in its sentence; None if it shall say none.
        given: Passwords in its environment.
        without: Variables that it must not have.
        limit: The longest file that it can write, like a disk that is full.
        kept: Whether it leaves a run directory.
        where: Its current directory, if not one of its own.
        files: Files in its directory.
        out: Words that must be in what it prints.
        meanwhile: What happens to it.
    """

    line: str
    code: int
    words: list[str] | None
    given: dict[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    limit: int | None = None
    kept: bool = False
    where: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    out: tuple[str, ...] = ()
    meanwhile: Callable[[subprocess.Popen[str], RedisServer, Path], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to.

    Attributes:
        code: Its exit code.
        out: What it printed.
        errors: What it said.
        lives: What still runs.
        runs: The run directories that it left.
        files: Everything in its directory as text, by name.
    """

    code: int
    out: str
    errors: str
    lives: list[str]
    runs: list[Path]
    files: dict[str, bytes]


def at_start(delay_s: float, number: signal.Signals) -> Callable[..., None]:
    """Return what sends a signal when the run directory is there, before anything is measured."""

    def send(process: subprocess.Popen[str], server: RedisServer, directory: Path) -> None:
        assert until(lambda: list(directory.glob('runs/*')), within_s=END_S)
        time.sleep(delay_s)
        process.send_signal(number)

    return send


def _measuring(process: subprocess.Popen[str], directory: Path) -> None:
    """Return when the run is under way, as its log tells."""

    def begun() -> bool:
        logs = list(directory.glob('runs/*/log.jsonl'))
        return bool(logs) and 'run.started' in logs[0].read_text(encoding='utf-8')

    assert until(lambda: begun() or process.poll() is not None, within_s=END_S)
    time.sleep(0.3)


def foreign_messages(process: subprocess.Popen[str], server: RedisServer, directory: Path) -> None:
    """Publish on the topic of the run what isn't its own: pickles among them."""
    _measuring(process, directory)
    (topic,) = [name for name in server.ask('PUBSUB', 'CHANNELS') if b'foreign' in name]
    bomb = b"cposix\nsystem\n(S'touch unpickled'\ntR."
    for message in (b'', b'junk', bomb, b'\x80\x04.', b'SBN\x00' + bytes(80), b'SBN\x00'):
        assert server.ask('PUBLISH', topic, message) == 1  # type: ignore[arg-type]


def killed_worker(process: subprocess.Popen[str], server: RedisServer, directory: Path) -> None:
    """Kill a worker in the middle of its task."""
    _measuring(process, directory)
    workers = [
        pid
        for pid, words in processes(str(directory)).items()
        if 'spawn_main' in words and pid != process.pid
    ]
    os.kill(workers[0], signal.SIGKILL)


LONG = '--executor process --task-count 40 --task-sleep 0.1 --data-size-bytes 1kB --stream memory'
ADDRESS = '--stream-servers {address}'
STORE = '--ps-host {host} --ps-port {port}'
LIMITED = '{limited}'
LIMITED_STORE = '--ps-host {host} --ps-port {limited_port}'
CLOSED = '--stream-servers {closed}'
CLOSED_STORE = '--ps-host {host} --ps-port {closed_port}'
STREAM_PASSWORD = 'STREAMBENCH_STREAM_PASSWORD'
STORE_PASSWORD = 'STREAMBENCH_PS_PASSWORD'

CASES = {
    'no server': Case(
        line=f'{REDIS} --stream-servers localhost:1',
        code=EXIT_RUN,
        words=['localhost:1', 'leave out --stream-servers', 'embedded'],
    ),
    'no host': Case(
        line=f'{REDIS} --stream-servers nowhere.invalid:6379',
        code=EXIT_RUN,
        words=['nowhere.invalid:6379', 'leave out --stream-servers'],
    ),
    'no store': Case(
        line=f'{PROXY} --ps-host localhost --ps-port 1',
        code=EXIT_RUN,
        words=['localhost:1', 'leave out --ps-host and --ps-port'],
    ),
    'no Kafka': Case(
        line=f'{REDIS} --stream kafka --stream-servers localhost:1',
        code=EXIT_RUN,
        words=['Kafka', 'localhost:1', 'scripts/kafka start'],
    ),
    'no store needed': Case(
        line=f'{MEMORY} --ps-host localhost --ps-port 1', code=EXIT_OK, words=None, kept=True
    ),
    'no Redis installed': Case(
        line=REDIS,
        code=EXIT_CONFIG,
        words=['$STREAMBENCH_REDIS_SERVER', "'/nothing'"],
        given={'STREAMBENCH_REDIS_SERVER': '/nothing'},
    ),
    'password missing': Case(
        line=f'{REDIS} {CLOSED}',
        code=EXIT_RUN,
        words=['asks for a password', '$STREAMBENCH_STREAM_PASSWORD'],
    ),
    'password wrong': Case(
        line=f'{REDIS} {CLOSED}',
        code=EXIT_RUN,
        words=['refuses the given password', '$STREAMBENCH_STREAM_PASSWORD', '--stream-url-file'],
        given={STREAM_PASSWORD: 'falsch'},
    ),
    'password of the store missing': Case(
        line=f'{PROXY} {CLOSED_STORE}',
        code=EXIT_RUN,
        words=['asks for a password', '$STREAMBENCH_PS_PASSWORD'],
    ),
    'password of the store wrong': Case(
        line=f'{PROXY} {CLOSED_STORE}',
        code=EXIT_RUN,
        words=['refuses the given password', '$STREAMBENCH_PS_PASSWORD', '--ps-url-file'],
        given={STORE_PASSWORD: 'falsch'},
    ),
    'passwords in the environment': Case(
        line=f'{QUICK} --log-file-level DEBUG --generator worker {CLOSED} {CLOSED_STORE}',
        code=EXIT_OK,
        words=None,
        given={STREAM_PASSWORD: 'geheim', STORE_PASSWORD: 'geheim'},
        kept=True,
    ),
    'passwords in files': Case(
        line=f'{QUICK} --log-file-level DEBUG --stream-url-file ../url --ps-url-file ../url',
        code=EXIT_OK,
        words=None,
        kept=True,
    ),
    'no URL file': Case(
        line=f'{REDIS} --stream-url-file nothing',
        code=EXIT_CONFIG,
        words=['--stream-url-file', "'nothing'", 'No such file'],
    ),
    'URL file without a URL': Case(
        line=f'{PROXY} --ps-url-file url',
        code=EXIT_CONFIG,
        words=['--ps-url-file', "'url'", 'redis://:password@host:6379'],
        files={'url': 'geheim'},
    ),
    'message above the limit': Case(
        line=f'{REDIS} --data-size-bytes 2MB --stream-servers {LIMITED}',
        code=EXIT_RUN,
        words=['2000', '1048576', 'proto-max-bulk-len', '--data-size-bytes'],
    ),
    'one message above the limit': Case(
        line=f'{REDIS} --data-size-bytes 1kB 2MB --stream-servers {LIMITED}',
        code=EXIT_RUN,
        words=['proto-max-bulk-len'],
        kept=True,
        out=('default  1 kB', 'invalid', 'proto-max-bulk-len'),
    ),
    'payload above the limit': Case(
        line=f'{PROXY} --data-size-bytes 2MB {LIMITED_STORE}',
        code=EXIT_RUN,
        words=['2000', '1048576', 'proto-max-bulk-len'],
    ),
    'foreign messages': Case(
        line=f'{REDIS} --task-count 100 --stream-topic foreign {ADDRESS}',
        code=EXIT_OK,
        words=None,
        kept=True,
        out=('100 / 0', 'results:'),
        meanwhile=foreign_messages,
    ),
    'worker killed': Case(
        line=f'{LONG} --stream-method default',
        code=EXIT_RUN,
        words=['worker process', 'was ended by SIGKILL', 'start again', '--max-workers'],
        kept=True,
        out=('invalid', 'tasks failed'),
        meanwhile=killed_worker,
    ),
    'one worker': Case(
        line=f'{MEMORY} --max-workers 1', code=EXIT_OK, words=None, kept=True, out=('1 worker',)
    ),
    'run directory below a file': Case(
        line=f'{MEMORY} --run-dir file/runs',
        code=EXIT_CONFIG,
        words=['--run-dir', "'file/runs'", 'Not a directory'],
        files={'file': ''},
    ),
    'run directory is a file': Case(
        line=f'{MEMORY} --run-dir file',
        code=EXIT_CONFIG,
        words=['--run-dir', "'file'", 'name a directory'],
        files={'file': ''},
    ),
    'run directory unwritable': Case(
        line=f'{MEMORY} --run-dir /proc/runs',
        code=EXIT_CONFIG,
        words=['--run-dir', "'/proc/runs'", 'name a directory'],
    ),
    'current directory unwritable': Case(
        line=MEMORY, code=EXIT_CONFIG, words=['--run-dir', "'runs'", 'name a directory'], where='/proc'
    ),
    'results are a directory': Case(
        line=f'{MEMORY} --csv-file /tmp',
        code=EXIT_CONFIG,
        words=['--csv-file', "'/tmp'", 'Is a directory'],
    ),
    'results are of another program': Case(
        line=f'{MEMORY} --csv-file {{here}}/old.csv',
        code=EXIT_CONFIG,
        words=['--csv-file', 'old.csv', 'other columns'],
        files={'old.csv': 'executor,connector\n1,2\n'},
    ),
    'log is a directory': Case(
        line=f'{MEMORY} --log-file /tmp',
        code=EXIT_CONFIG,
        words=['--log-file', "'/tmp'", 'Is a directory'],
    ),
    'directory of the store is a file': Case(
        line=f'{PROXY} --ps-connector file --ps-file-dir file',
        code=EXIT_RUN,
        words=['--ps-file-dir', "'file'", 'name a directory'],
        files={'file': ''},
    ),
    'disk full at the start': Case(
        line=MEMORY, code=EXIT_RUN, words=['results can not be written', '--run-dir'], limit=0
    ),
    'disk full later': Case(
        line=MEMORY,
        code=EXIT_RUN,
        words=['results can not be written', 'File too large', '--run-dir'],
        limit=4000,
        kept=True,
    ),
    'standard output full': Case(
        line=f'{MEMORY} > /dev/full',
        code=EXIT_RUN,
        words=['standard output', 'No space left'],
        kept=True,
    ),
    'standard error full': Case(
        line=f'{MEMORY} 2> /dev/full', code=EXIT_OK, words=None, kept=True, out=('results:',)
    ),
    'standard output closed': Case(line=f'{MEMORY} >&-', code=EXIT_OK, words=None, kept=True),
    'standard error closed': Case(line=f'{MEMORY} 2>&-', code=EXIT_OK, words=None, kept=True),
    'read by head': Case(line=f'{MEMORY} | head -n 1', code=EXIT_OK, words=None, kept=True),
    'read by nobody': Case(line=f'{MEMORY} 2>&1 | true', code=EXIT_OK, words=None, kept=True),
    'no home': Case(line=MEMORY, code=EXIT_OK, words=None, without=('HOME',), kept=True),
    'poor terminal': Case(
        line=MEMORY, code=EXIT_OK, words=None, given={'PYTHONIOENCODING': 'ascii'}, kept=True
    ),
    'name that is no text': Case(
        line=f'{MEMORY} --run-dir \udcff', code=EXIT_CONFIG, words=['--run-dir', 'UTF-8']
    ),
    'Ctrl-C at the start': Case(
        line=QUICK,
        code=EXIT_INTERRUPTED,
        words=['interrupted'],
        meanwhile=at_start(0.0, signal.SIGINT),
    ),
    'SIGTERM at the start': Case(
        line=QUICK,
        code=EXIT_INTERRUPTED,
        words=['interrupted'],
        meanwhile=at_start(0.1, signal.SIGTERM),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Redis servers: an open one, one with a password, one that takes up to a mebibyte."""

    plain: RedisServer
    closed: RedisServer
    limited: RedisServer


def full_disk(limit: int) -> None:
    """Let every file end at a length; the write that would pass it fails like on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def outcome(case: Case, servers: Servers, directory: Path) -> Outcome:
    """Run a command."""
    directory.mkdir()
    for name, text in case.files.items():
        (directory / name).write_text(text, encoding='utf-8')
    words = case.line.format(
        host=servers.plain.host,
        port=servers.plain.port,
        address=servers.plain.address,
        closed=servers.closed.address,
        closed_port=servers.closed.port,
        limited=servers.limited.address,
        limited_port=servers.limited.port,
        here=directory,
    )
    mark = f'{directory}-{secrets.token_hex(8)}'
    environment = os.environ | {MARK: mark, 'TMPDIR': str(directory)} | case.given
    for name in case.without:
        environment.pop(name, None)
    program = f'{sys.executable} -m streambench run {words}'
    shell = any(sign in words for sign in '|>')
    process = subprocess.Popen(
        ['bash', '-c', f'set -o pipefail; {program}'] if shell else program.split(),
        cwd=case.where or directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if case.limit is None else partial(full_disk, case.limit),
    )
    try:
        if case.meanwhile is not None:
            case.meanwhile(process, servers.plain, directory)
        out, errors = process.communicate(timeout=END_S)
    finally:
        process.kill()
        process.wait()
    none_left(lambda: list(processes(mark)), within_s=GONE_S)
    return Outcome(
        code=process.returncode,
        out=out,
        errors=errors,
        lives=list(processes(mark).values()),
        runs=[*directory.glob('runs/*'), *directory.glob('\udcff/*')],
        files={str(path): path.read_bytes() for path in directory.rglob('*') if path.is_file()},
    )


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """Return the outcome of each command; a few of them run at once."""
    place = tmp_path_factory.mktemp('mistakes')
    with RedisServer() as plain, RedisServer() as closed, RedisServer() as limited:
        closed.ask('CONFIG', 'SET', 'requirepass', 'geheim')
        limited.ask('CONFIG', 'SET', 'proto-max-bulk-len', '1mb')
        (place / 'url').write_text(f'redis://:geheim@{closed.address}', encoding='utf-8')
        servers = Servers(plain=plain, closed=closed, limited=limited)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield {
                name: pool.submit(outcome, case, servers, place / name.replace(' ', '-'))
                for name, case in CASES.items()
            }


@pytest.mark.parametrize('name', CASES)
def test_a_mistake_while_running_is_one_sentence(
    name: str, outcomes: dict[str, Future[Outcome]]
) -> None:
    """One sentence, its exit code, no process left, no run directory if nothing was measured."""
    case, found = CASES[name], outcomes[name].result()
    assert found.code == case.code, found.errors
    if case.words is None:
        assert 'streambench: ' not in found.errors
        assert 'Traceback' not in found.errors
    else:
        assert_one_sentence(found.errors, case.words)
    for text in case.out:
        assert text in found.out
    assert found.lives == []
    assert len(found.runs) == case.kept, found.runs


@pytest.mark.parametrize('name', [name for name in CASES if name.startswith('passwords')])
def test_a_password_is_nowhere(name: str, outcomes: dict[str, Future[Outcome]]) -> None:
    """No file of a run against servers with a password holds it, nor does what the run said."""
    found = outcomes[name].result()
    assert any(path.endswith('config.toml') for path in found.files)
    assert any(path.endswith('log.jsonl') for path in found.files)
    assert [path for path, content in found.files.items() if b'geheim' in content] == []
    assert 'geheim' not in found.out + found.errors


def test_foreign_messages_are_counted(outcomes: dict[str, Future[Outcome]]) -> None:
    """What isn't the run's own is counted, ignored, and never unpickled."""
    found = outcomes['foreign messages'].result()
    (results,) = [text for path, text in found.files.items() if path.endswith('results.csv')]
    (row,) = csv.DictReader(results.decode().splitlines())
    assert row['foreign'] == '6'
    assert not [path for path in found.files if path.endswith('unpickled')]


def test_killed_tasks_are_rows(outcomes: dict[str, Future[Outcome]]) -> None:
    """After the death of a worker every item has its row, and the run has ended."""
    found = outcomes['worker killed'].result()
    (results,) = [text for path, text in found.files.items() if path.endswith('results.csv')]
    row = next(csv.DictReader(results.decode().splitlines()))
    ended = [int(row[name]) for name in ('completed_tasks', 'failed', 'unfinished')]
    assert sum(ended) == int(row['sent']) <= 40
    assert int(row['failed']) > 0
    assert row['ended'] == 'failed'


def test_kafka_without_java_is_one_sentence(tmp_path: Path) -> None:
    """`scripts/kafka start` without Java says what to install."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ('PATH', 'JAVA_HOME')
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / 'scripts' / 'kafka'), 'start', '--directory', str(tmp_path)],
        env=environment | {'PATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert done.returncode == EXIT_CONFIG
    assert 'Traceback' not in done.stderr
    (sentence,) = done.stderr.splitlines()
    assert 'Java' in sentence
    assert 'install' in sentence
