"""How a run ends that does not end by itself: by signals, and by servers that go away."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet
import pytest

from streambench import worker
from streambench.brokers.base import Subscriber
from streambench.brokers.memory import MemoryBroker
from streambench.brokers.redis import RedisBroker
from streambench.errors import EXIT_INTEGRITY, EXIT_INTERRUPTED, EXIT_RUN, BrokerError
from streambench.recorder import Recorder
from streambench.servers.redis import EmbeddedRedis
from streambench.session import open_session
from streambench.settings import configure
from tests.living import none_left, processes, until
from tests.redis_server import RedisServer

START_S = 90.0
END_S = 30.0
GONE_S = 10.0
FAILED_S = 20.0
MARK = 'STREAMBENCH_TEST_MARK'

EXECUTORS = {
    'thread': ['--executor', 'thread'],
    'process': ['--executor', 'process'],
    'parsl-htex-local': ['--executor', 'parsl', '--parsl-executor', 'htex-local'],
}
# Each kind of loop in a process of its own.
WITH_LOOPS = EXECUTORS | {'thread, two loops': ['--executor', 'thread', '--loop', 'asyncio', 'uvloop']}
ENDLESS = ['--task-count', '100000', '--task-sleep', '0.05', '--max-workers', '3']
PROXY = ['--stream-method', 'proxy', '--data-size-bytes', '10kB']
DEFAULT = ['--stream-method', 'default', '--data-size-bytes', '10kB']


class Command:
    """`streambench run` in a directory of its own, ended with its `with` block.

    Args:
        directory: Its current directory.
        words: Its arguments.
        limit_bytes: The longest file that it can write, like a disk that is full.
        terminal: What is its terminal and takes what it says; none, if absent.
    """

    def __init__(
        self,
        directory: Path,
        *words: str,
        limit_bytes: int | None = None,
        terminal: int | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._terminal = terminal
        self.mark = secrets.token_hex(12)
        self.directory = directory
        # A short path: sockets are made in it.
        self.temporary = Path(tempfile.mkdtemp(prefix='t-'))
        self._words = [sys.executable, '-m', 'streambench', 'run', *words]
        self._output = directory / 'out'
        self._errors = directory / 'err'

    def __enter__(self) -> Self:
        """Start it."""
        environment = os.environ | {'TMPDIR': str(self.temporary), MARK: self.mark}
        with self._output.open('wb') as output, self._errors.open('wb') as errors:
            self.process = subprocess.Popen(
                self._words,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output if self._terminal is None else self._terminal,
                stderr=errors if self._terminal is None else self._terminal,
                start_new_session=True,
                preexec_fn=self._prepare,
            )
        return self

    def _prepare(self) -> None:
        # Who runs the tests under nohup lets everything below them ignore it.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if self._limit_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit_bytes, self._limit_bytes))
        if self._terminal is not None:
            fcntl.ioctl(1, termios.TIOCSCTTY, 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill whatever a failed test left."""
        for pid in [*processes(self.mark), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text(encoding='utf-8')

    @property
    def errors(self) -> str:
        """What it has said."""
        return self._errors.read_text(encoding='utf-8')

    @property
    def parts(self) -> list[Path]:
        """Its sealed parts of items."""
        return sorted(self.directory.glob('runs/*/items/part-*.parquet'))

    @property
    def rows(self) -> list[dict[str, str]]:
        """Its rows of results.csv."""
        (path,) = self.directory.glob('runs/*/results.csv')
        with path.open(newline='', encoding='utf-8') as file:
            return list(csv.DictReader(file))

    def items(self) -> list[dict[str, Any]]:
        """Return the items of all sealed parts, each read by itself."""
        found: list[dict[str, Any]] = []
        for part in self.parts:
            found += pyarrow.parquet.read_table(part).to_pylist()
        return found

    def until_measuring(self, *, sealed: bool = False) -> None:
        """Return when items of a run are on their way, or the first part is sealed."""

        def going() -> bool:
            assert self.process.poll() is None, self.errors
            return bool(self.parts) if sealed else bool(re.search(r', \d+ of \d+ items', self.errors))

        assert until(going, within_s=START_S), self.errors
        time.sleep(0.3)

    def end(self, *, within_s: float = END_S) -> int:
        """Return its exit code."""
        return self.process.wait(within_s)

    def temporaries(self) -> list[str]:
        """Return the temporary files and directories, whoever made them."""
        return [path.name for path in self.temporary.iterdir()]

    @property
    def logged(self) -> str:
        """Its log so far."""
        return ''.join(
            path.read_text(encoding='utf-8') for path in self.directory.glob('runs/*/log.jsonl')
        )

    def events(self) -> list[str]:
        """Return the names of the events in its log."""
        return [json.loads(line)['event'] for line in self.logged.splitlines()]

    def left(self) -> list[str]:
        """Return what lives on or lies about once everything had its time to go."""
        none_left(lambda: [*processes(self.mark).values(), *self.temporaries()], within_s=GONE_S)
        return [*processes(self.mark).values(), *self.temporaries()]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Return a Redis server that the test may kill."""
    with RedisServer() as running:
        yield running


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda it: it.name)
@pytest.mark.parametrize('executor', WITH_LOOPS)
def test_an_interrupted_run_ends_well(tmp_path: Path, executor: str, number: signal.Signals) -> None:
    """After SIGINT or SIGTERM results are written and shown, the exit is 130, and nothing is left."""
    with Command(tmp_path, *WITH_LOOPS[executor], *ENDLESS, *PROXY) as command:
        command.until_measuring()
        assert len(processes(command.mark)) >= 3, 'the test would not see what lives'
        assert len(command.temporaries()) >= 2
        if number == signal.SIGINT:
            # A terminal sends it to the whole group.
            os.killpg(command.process.pid, number)
        else:
            command.process.send_signal(number)
        assert command.end() == EXIT_INTERRUPTED, command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output
        (row,) = command.rows
        assert (row['ended'], row['verdict']) == ('interrupted', 'invalid')
        assert 0 < int(row['completed_tasks']) < 100_000
        items = [item for item in command.items() if item['phase'] == 'measure']
        completed = [item for item in items if item['status'] == 'completed']
        assert len(completed) == int(row['completed_tasks'])
        assert len(items) == int(row['sent'])
        # Nobody waited for the others: they neither failed nor went lost.
        assert {item['status'] for item in items} <= {'completed', 'unfinished'}
        assert len(items) == len(completed) + int(row['unfinished'])
        assert 'interrupted' in command.output
        assert 'results: runs/' in command.output
        # Parsl tells of every task, at the level of our events.
        assert 'run.started' in command.events()
        assert [
            event for event in command.events() if not re.fullmatch(r'[a-z]+\.[a-z_]+', event)
        ] == []


@pytest.mark.parametrize('executor', WITH_LOOPS)
def test_a_killed_run_leaves_nothing(tmp_path: Path, executor: str) -> None:
    """After SIGKILL all its processes and directories go by themselves; sealed parts are readable."""
    with Command(tmp_path, *WITH_LOOPS[executor], *ENDLESS, *PROXY) as command:
        command.until_measuring(sealed=True)
        assert len(processes(command.mark)) >= 3
        command.process.kill()
        assert command.end() == -signal.SIGKILL
        assert command.left() == []
        measured = [item for item in command.items() if item['phase'] == 'measure']
        assert len([item for item in measured if item['status'] == 'completed']) > 10
        # The process of one loop tidies up once that of the command is gone, and says what it left.
        others = {item['status'] for item in measured} - {'completed'}
        assert others <= ({'unfinished'} if 'loops' in executor else set())


@pytest.mark.parametrize('stage', ['an embedded Redis', 'with 2 workers'])
@pytest.mark.parametrize('executor', WITH_LOOPS)
def test_a_run_interrupted_at_its_start_leaves_nothing(
    tmp_path: Path, executor: str, stage: str
) -> None:
    """A signal while servers and workers are starting ends the command all the same."""
    with Command(tmp_path, *WITH_LOOPS[executor], *ENDLESS, *PROXY) as command:
        assert until(lambda: re.search(f' starting .*{stage}', command.errors), within_s=START_S)
        command.process.send_signal(signal.SIGTERM)
        assert command.end() == EXIT_INTERRUPTED, command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output


def test_workers_that_start_do_not_hear_ctrl_c(tmp_path: Path) -> None:
    """A terminal sends it to them too, and each would answer by a traceback."""
    words = [*EXECUTORS['process'], *ENDLESS, *DEFAULT, '--stream', 'memory']
    with Command(tmp_path, *words) as command:
        assert until(lambda: 'spawn_main' in str(processes(command.mark)), within_s=START_S)
        os.killpg(command.process.pid, signal.SIGINT)
        assert command.end() == EXIT_INTERRUPTED, command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output


def test_a_terminal_that_is_closed_interrupts_the_run(tmp_path: Path) -> None:
    """Its rows are written, as after Ctrl-C, though nobody is there to be told."""
    ours, theirs = os.openpty()
    words = [*EXECUTORS['process'], *ENDLESS, *DEFAULT, '--stream', 'memory']
    with Command(tmp_path, *words, terminal=theirs) as command:
        os.close(theirs)
        assert until(lambda: 'run.started' in command.logged, within_s=START_S)
        # Items are on their way.
        time.sleep(0.5)
        os.close(ours)
        assert command.end() == EXIT_INTERRUPTED
        assert command.left() == []
        (row,) = command.rows
        assert row['ended'] == 'interrupted'


def test_sigterm_is_heard_from_the_beginning(tmp_path: Path) -> None:
    """Also while the plan is read, here from a pipe into which nobody writes."""
    pipe = tmp_path / 'plan.toml'
    os.mkfifo(pipe)
    with Command(tmp_path, '--config', str(pipe)) as command, pipe.open('w', encoding='utf-8'):
        command.process.send_signal(signal.SIGTERM)
        assert command.end() == EXIT_INTERRUPTED
        assert command.errors == 'streambench: interrupted.\n'


@pytest.mark.parametrize(
    ('executor', 'number'), [('parsl-htex-local', signal.SIGTERM), ('thread', signal.SIGINT)]
)
def test_a_second_signal_does_not_wait(tmp_path: Path, executor: str, number: signal.Signals) -> None:
    """Two signals in a row end the command at once, and its helpers with it."""
    with Command(tmp_path, *EXECUTORS[executor], *ENDLESS, *PROXY) as command:
        command.until_measuring()
        for _ in range(2):
            os.killpg(command.process.pid, number)
            time.sleep(0.05)
        assert command.end() == EXIT_INTERRUPTED
        assert command.left() == []
        assert command.errors.splitlines()[-1].startswith('streambench: interrupted twice: ')


def test_the_process_of_a_loop_that_is_killed_ends_the_plan(tmp_path: Path) -> None:
    """It is said in a sentence, what was sealed stays, and nothing is left."""
    with Command(tmp_path, *WITH_LOOPS['thread, two loops'], *ENDLESS, *PROXY) as command:
        command.until_measuring(sealed=True)
        ours = command.process.pid
        (child,) = Path(f'/proc/{ours}/task/{ours}/children').read_text(encoding='utf-8').split()
        os.kill(int(child), signal.SIGKILL)
        assert command.end() == EXIT_RUN, command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output
        assert re.search(r'the process of the runs on \w+ ended with exit code -9', command.errors)
        assert len(command.items()) > 10


@pytest.mark.parametrize('executor', ['thread', 'process'])
def test_a_broker_that_is_killed_fails_the_run(
    tmp_path: Path, server: RedisServer, executor: str
) -> None:
    """When the broker's server is gone for good, the run ends as failed and its rows are written."""
    words = [*EXECUTORS[executor], *ENDLESS, *DEFAULT, '--stream-servers', server.address]
    with Command(tmp_path, *words) as command:
        command.until_measuring()
        server.kill()
        assert command.end(within_s=FAILED_S) in (EXIT_RUN, EXIT_INTEGRITY), command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output
        (row,) = command.rows
        assert row['ended'] == 'failed'
        assert 'Redis' in row['reason']
        assert int(row['completed_tasks']) > 0
        assert len([item for item in command.items() if item['phase'] == 'measure']) == int(row['sent'])


async def test_a_broker_that_is_silent_is_one_sentence(server: RedisServer) -> None:
    """It accepts connections and doesn't answer: that is said in the time that connecting may take."""
    broker = RedisBroker(
        stream_servers=server.address, stream_option=(('socket_connect_timeout', '0.3'),)
    )
    with server.silent():
        async with asyncio.timeout(GONE_S):
            for opening in (broker.open_subscriber('topic'), broker.open_publisher('topic')):
                with pytest.raises(BrokerError, match=r'silent for 0\.3 s\): start one there'):
                    await opening.__aenter__()
            assert await broker.server_cpu_s() is None


def ended_part(command: Command, part: str) -> None:
    """Kill a part of Parsl's: the program on a leash whose command line names it, not the leash."""
    (leash,) = [
        pid for pid, words in processes(command.mark).items() if 'leash' in words and part in words
    ]
    (child,) = Path(f'/proc/{leash}/task/{leash}/children').read_text(encoding='utf-8').split()
    os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize(
    ('part', 'told'),
    [('interchange.py', 'interchange.out'), ('process_worker_pool.py', 'has ended (failed)')],
)
def test_a_part_of_parsl_that_is_killed_ends_the_plan(tmp_path: Path, part: str, told: str) -> None:
    """Without interchange or worker pool the run fails within seconds, and no other is tried."""
    words = [*EXECUTORS['parsl-htex-local'], *ENDLESS, *DEFAULT, '--stream', 'memory', '--repeat', '2']
    with Command(tmp_path, *words) as command:
        command.until_measuring()
        ended_part(command, part)
        assert command.end(within_s=GONE_S) == EXIT_RUN, command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output
        sentence = command.errors.splitlines()[-1]
        assert sentence.startswith('streambench: ')
        assert told in sentence
        assert 'look into' in sentence
        (row,) = command.rows
        assert (row['ended'], row['lost']) == ('failed', '0')
        assert int(row['failed']) > 0
        failed = [item for item in command.items() if item['status'] == 'failed']
        assert len(failed) == int(row['failed'])
        assert all(item['error'] for item in failed)


def test_a_full_disk_ends_the_plan(tmp_path: Path) -> None:
    """A run whose items can't be written fails and leaves its row; nothing is lost by that."""
    words = [*EXECUTORS['thread'], '--stream', 'memory', *DEFAULT, '--rate', '1000', '--duration', '60']
    words += ['--task-sleep', '0.001', '--max-workers', '10', '--repeat', '2']
    with Command(tmp_path, *words, limit_bytes=60_000) as command:
        assert command.end() == EXIT_RUN, command.errors
        (row,) = command.rows
        assert (row['ended'], row['lost'], row['failed']) == ('failed', '0', '0')
        assert int(row['sent']) == int(row['completed_tasks']) + int(row['unfinished']) > 0
        assert row['reason'].startswith('results can not be written')
        # Said once, as the system says it.
        assert '(File too large): make room there' in row['reason']
        assert 'bookkeeping' not in row['reasons']
        assert 'make room' in command.errors
        assert [path.name for path in tmp_path.glob('runs/*/*.toml')] == ['config.toml']


@pytest.mark.parametrize('place', ['loop', 'worker'])
def test_a_subscriber_that_is_cut_off_is_counted(
    tmp_path: Path, server: RedisServer, place: str
) -> None:
    """A lost subscription is made anew and counted; its items are lost, and nobody waits for them."""
    words = ['--executor', 'thread', *DEFAULT, '--task-count', '400', '--task-sleep', '0.02']
    words += ['--stream-servers', server.address, '--stall-timeout', '60', '--generator', place]
    with Command(tmp_path, *words) as command:
        command.until_measuring()
        # The server keeps busy after the cut, so that items are surely published to nobody.
        busy = 'local n = 0 for i = 1, 30000000 do n = n + 1 end return n'
        with server.client() as client, client.pipeline(transaction=True) as together:
            together.execute_command('CLIENT', 'KILL', 'TYPE', 'pubsub')
            together.eval(busy, 0)
            assert together.execute()[0] == 1
        assert command.end() == EXIT_INTEGRITY, command.errors
        (row,) = command.rows
        assert (row['ended'], row['verdict']) == ('complete', 'invalid')
        assert int(row['reconnects']) == 1
        assert int(row['lost']) > 0
        assert int(row['lost']) + int(row['completed_tasks']) == int(row['sent']) == 400
        assert (row['duplicated'], row['reordered'], row['failed']) == ('0', '0', '0')
        assert 'lost' in command.output


@pytest.mark.parametrize('executor', ['thread', 'process', 'parsl-htex-local'])
def test_a_store_that_is_killed_fails_the_run(
    tmp_path: Path, server: RedisServer, executor: str
) -> None:
    """When the store's server is gone, items fail with the cause, and the run ends at once."""
    words = [*EXECUTORS[executor], *ENDLESS, *PROXY, '--load', '3', '--stream', 'memory']
    words += ['--ps-host', server.host, '--ps-port', str(server.port)]
    with Command(tmp_path, *words) as command:
        command.until_measuring()
        server.kill()
        assert command.end(within_s=FAILED_S) == EXIT_RUN, command.errors
        assert command.left() == []
        assert 'Traceback' not in command.errors + command.output
        (row,) = command.rows
        assert row['ended'] == 'failed'
        assert f'the redis store at {server.host}:{server.port} did not take a payload' in row['reason']
        assert int(row['failed']) > 0
        failed = [item for item in command.items() if item['status'] == 'failed']
        assert len(failed) == int(row['failed'])
        assert all(item['error'] for item in failed)


@dataclass(frozen=True, kw_only=True)
class GoingBroker(MemoryBroker):
    """A broker that goes away at the moment in which its run is cancelled."""

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open a receiving end that answers its cancellation by an error."""
        async with super().open_subscriber(topic) as subscriber:
            receive = subscriber.receive

            async def failing() -> bytes:
                try:
                    return await receive()
                except asyncio.CancelledError:
                    raise BrokerError('the broker went away.') from None

            subscriber.receive = failing  # type: ignore[method-assign]
            yield subscriber


async def test_a_cancellation_is_stronger_than_an_error(tmp_path: Path) -> None:
    """A run that is cancelled while something fails is interrupted: no other run follows it."""
    given = configure(executor='thread', stream='memory', task_count=1000, task_sleep=0.02)
    config = replace(given, broker_plugin=GoingBroker())
    async with open_session(config, directory=tmp_path) as session:
        running = asyncio.create_task(session.run())
        await asyncio.sleep(1.0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        (row,) = session.recorder.rows
    assert (row.ended, row.verdict) == ('interrupted', 'invalid')


@pytest.mark.parametrize('delay_s', [0.0, 0.005, 0.05])
async def test_a_redis_whose_start_is_cancelled_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay_s: float
) -> None:
    """An embedded Redis that is cancelled while it starts leaves no process and no directory."""
    mark = secrets.token_hex(12)
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))

    async def start() -> None:
        async with EmbeddedRedis():
            await asyncio.sleep(END_S)

    starting = asyncio.create_task(start())
    await asyncio.sleep(delay_s)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert await asyncio.to_thread(none_left, lambda: processes(mark), within_s=GONE_S) == {}
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


class SlowRecorder(Recorder):
    """A recorder that takes its time to seal the rows of a run, and says when it begins."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sealing = asyncio.Event()

    async def seal(self) -> None:
        """Seal after a while."""
        self.sealing.set()
        await asyncio.sleep(0.05)
        await super().seal()


@pytest.mark.parametrize('times', [1, 2])
async def test_a_run_cancelled_while_it_is_recorded_is_recorded(tmp_path: Path, times: int) -> None:
    """Its row is written before its session is closed, however often it is cancelled; no task stays."""
    before = asyncio.all_tasks()
    config = configure(executor='thread', stream='memory', task_count=5, task_sleep=0.001)
    recorder = SlowRecorder(tmp_path)

    async def use() -> None:
        async with recorder, open_session(config, recorder=recorder) as session:
            await session.run()

    using = asyncio.create_task(use())
    await recorder.sealing.wait()
    for _ in range(times):
        using.cancel()
        await asyncio.sleep(0.001)
    await asyncio.wait([using])
    assert using.cancelled()
    assert asyncio.all_tasks() == before
    assert [row.completed_tasks for row in recorder.rows] == [5]
    assert worker.interrupts == {}


async def test_a_session_cancelled_at_once_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary run directory is made in a thread, and removed also if nobody got to use it."""
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    config = configure(executor='thread', stream='memory')

    async def use() -> None:
        async with open_session(config):
            await asyncio.sleep(END_S)

    for _ in range(20):
        using = asyncio.create_task(use())
        await asyncio.sleep(0)
        using.cancel()
        await asyncio.wait([using])
        assert using.cancelled()
        assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []
