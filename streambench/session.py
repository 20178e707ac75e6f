"""A session: servers, store and executor held open, and the runs that are made in it.

This is the library: `async with open_session(config) as session: result = await session.run()`. The
command line only uses it. The session introduces the parts to each other; none of them knows another.
"""

from __future__ import annotations

import asyncio
import difflib
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from streambench.brokers.base import BrokerPlugin
from streambench.clock import now_ns
from streambench.config import Config
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.store import OpenStore
from streambench.errors import ConfigError, ExecutorError, RunError
from streambench.executors.base import OpenExecutor
from streambench.interfaces import address_of
from streambench.log import logger
from streambench.outcomes import outcomes
from streambench.recorder import Recorder, prepare_directory
from streambench.records import RunRow
from streambench.run import Run
from streambench.run_spec import RunSpec
from streambench.servers.redis import EmbeddedRedis
from streambench.summary import Estimate
from streambench.threads import to_its_end, whole
from streambench.thresholds import FAIL, Outcome
from streambench.verdict import ABORTED

LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a session stands.

    Attributes:
        doing: What it does: starting something, warm-up, measuring.
        run: The run, if one is under way.
        sent: Items sent so far.
        completed: Items completed so far.
        total: Items of the run; 0 if nobody knows.
    """

    doing: str
    run: RunSpec | None = None
    sent: int = 0
    completed: int = 0
    total: int = 0


Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        spec: What was asked.
        row: What happened, as in results.csv.
        error: What ended it early, or None.
    """

    spec: RunSpec
    row: RunRow
    error: Exception | None

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each threshold of the configuration, in their order."""
        return outcomes(self.spec.config.thresholds, asdict(self.row))

    def estimate(self, metric: str) -> Estimate | None:
        """Return a percentile with its 95 % interval and n, or None where n can't carry it.

        Args:
            metric: Stage and percentile, such as `sojourn_p95`.

        Raises:
            ConfigError: If there is no such percentile; names the nearest.
        """
        columns = asdict(self.row)
        if f'{metric}_low_s' not in columns:
            known = [column.removesuffix('_low_s') for column in columns if column.endswith('_low_s')]
            near = difflib.get_close_matches(metric, known, n=3) or known[:3]
            raise ConfigError(f'{metric!r} is no percentile of a stage; try {", ".join(near)}.')
        value, low, high = (columns[f'{metric}{end}_s'] for end in ('', '_low', '_high'))
        if value is None:
            return None
        stage = metric.rpartition('_p')[0]
        return Estimate(value=value, low=low, high=high, n=round(columns[f'{stage}_n']))

    @property
    def aborted(self) -> bool:
        """Whether a threshold with `abort:` failed, which ends the plan."""
        missed = (outcome.threshold.abort and outcome.grade == FAIL for outcome in self.outcomes)
        return self.row.ended == ABORTED or any(missed)


class Session:
    """Open executor and store; made by `open_session`."""

    def __init__(
        self,
        *,
        name: str,
        config: Config,
        broker: BrokerPlugin,
        connector: ConnectorPlugin | None,
        store: OpenStore | None,
        executor: OpenExecutor,
        recorder: Recorder,
        report: Report,
        servers: tuple[str, ...],
    ) -> None:
        self.name = name
        self.config = config
        self.broker = broker
        self.connector = connector
        self.store = store
        self.executor = executor
        self.recorder = recorder
        self.report = report
        self.servers = servers
        self.redis_shared = connector is not None and _same_server(broker, connector)
        # Instants are monotonic; this turns one into a date.
        self.epoch_offset_ns = time.time_ns() - now_ns()
        self._next_run = 0
        self._lock = asyncio.Lock()
        self._closed = False
        self._measuring: asyncio.Task[Any] | None = None

    @property
    def directory(self) -> Path:
        """Where the results are."""
        return self.recorder.directory

    async def run(self, spec: RunSpec | None = None) -> RunResult:
        """Make one run and record it.

        Args:
            spec: The run; by default the session's configuration, run once.

        Returns:
            What happened, also when the run stalled or its broker went away.

        Raises:
            ExecutorError: If no worker answers in the warm-up, or the executor has given up.
            ResultsError: If results can't be written.
            RunError: If the session is closed, or was while the run was under way.
        """
        self._check_open()
        if spec is None:
            spec = RunSpec(
                run=self._next_run,
                point=0,
                repeat=self._next_run,
                seed=self.config.seed if self.config.seed is not None else secrets.randbelow(1 << 32),
                config=self.config,
                opened_slots=self.executor.slots,
            )
        if spec.config.slots > self.executor.slots:
            raise ExecutorError(
                f'the run needs {spec.config.slots} workers and the session was opened with '
                f'{self.executor.slots}: open it with slots={spec.config.slots}.'
            )
        if self.executor.slots > spec.opened_slots:
            # More workers came than were asked for, and the run must not use them.
            spec = replace(spec, opened_slots=self.executor.slots)
        self._next_run = spec.run + 1
        # Two runs at once would measure each other.
        async with self._lock:
            self._check_open()
            run = Run(self, spec, report=self._progress)
            task = self._measuring = asyncio.current_task()
            assert task is not None
            cancelled = task.cancelling()
            try:
                await run.measure()
            except asyncio.CancelledError:
                if self._closed and task.uncancel() <= cancelled:
                    raise RunError(
                        f'session {self.name} was closed while run {spec.run + 1} was under way: await '
                        'it inside the `async with` block.'
                    ) from None
                raise
            finally:
                self._measuring = None
                row = await to_its_end(run.finish())
        return RunResult(spec=spec, row=row, error=run.error)

    def _check_open(self) -> None:
        if self._closed:
            raise RunError(f'session {self.name} is closed: run inside its `async with` block.')

    async def close(self) -> None:
        """End a run that is under way and take no more: what the session holds open goes away."""
        self._closed = True
        if self._measuring is not None:
            self._measuring.cancel()
        async with self._lock:
            pass

    def _progress(self, spec: RunSpec, doing: str, sent: int, completed: int) -> None:
        self.report(
            Progress(
                doing=doing,
                run=spec,
                sent=sent,
                completed=completed,
                total=spec.items or 0,
            )
        )


def _same_server(broker: BrokerPlugin, connector: ConnectorPlugin) -> bool:
    """Return whether broker and store are one Redis."""
    if not broker.name == connector.name == 'redis':
        return False
    addresses = [broker.address(), connector.address()]
    normal = [
        ('127.0.0.1' if entry[0] in LOCAL_NAMES else entry[0], entry[1])
        for entry in addresses
        if entry is not None
    ]
    return len(normal) == 2 and normal[0] == normal[1]


def _silent(progress: Progress) -> None:
    return


@asynccontextmanager
async def _temporary_directory(name: str) -> AsyncIterator[str]:
    made: list[str] = []
    try:
        await whole(lambda: made.append(tempfile.mkdtemp(prefix=f'{name}-')))
        yield made[0]
    finally:
        for directory in made:
            await whole(partial(shutil.rmtree, directory, ignore_errors=True))


@asynccontextmanager
async def open_session(
    config: Config,
    *,
    slots: int | None = None,
    directory: Path | str | None = None,
    recorder: Recorder | None = None,
    report: Report = _silent,
) -> AsyncIterator[Session]:
    """Open servers, store and executor for runs that share them.

    Args:
        config: A point; runs may differ from it in what varies within a session.
        slots: Workers of the executor, if runs need more than this point.
        directory: Run directory for the results, made if need be; it must not hold results of another
            session. A temporary one, removed at the end, if absent.
        recorder: Writes the results; one of the session's own if absent.
        report: Called with where the session stands.

    Yields:
        The session.

    Raises:
        ConfigError: If workers on other nodes need a directory and none is given.
        BrokerError: If the broker can't be reached.
        ConfigError: If the directory can't be made, or holds results.
        ConnectorError: If the store can't be reached.
        ExecutorError: If the executor can't be started.
    """
    name = f'streambench-{secrets.token_hex(6)}'
    log = logger().bind(session=name)
    async with AsyncExitStack() as stack:
        if recorder is None:
            if directory is None and config.executor_plugin.nodes:
                raise ConfigError(
                    f'open_session(directory=...) is needed for {config.executor} on other nodes, '
                    'which find its files there: name one that they see, as --run-dir does.'
                )
            if directory is None:
                directory = await stack.enter_async_context(_temporary_directory(name))
            await asyncio.to_thread(prepare_directory, Path(directory))
            recorder = await stack.enter_async_context(Recorder(Path(directory)))
        servers: list[str] = []
        bind = config.bind_interface
        place = {} if bind is None else {'host': await asyncio.to_thread(address_of, bind)}

        async def served(plugin: Any) -> Any:
            """Return a plugin with the server that it needs, and note what it runs on."""
            if plugin.needs_redis_server:
                report(Progress(doing='starting an embedded Redis'))
                server = await stack.enter_async_context(EmbeddedRedis(**place))
                servers.append(f'embedded Redis {server.version}')
                log.info('server.started', plugin=plugin.name, version=server.version)
                return plugin.at(server.host, server.port, server.password)
            address = plugin.address()
            servers.append(f'{plugin.name} {address[0]}:{address[1]}' if address else plugin.name)
            return plugin

        broker = await served(config.broker_plugin)
        connector = config.connector_plugin
        store: OpenStore | None = None
        if connector is not None:
            connector = await served(connector)
            store = await stack.enter_async_context(connector.open(name))
        # The broker is tried before workers are started: that is the dearer wait.
        async with broker.open_subscriber(f'{config.stream_topic}-{name}'):
            pass
        wanted = max(slots or 0, config.slots)
        report(Progress(doing=f'starting {config.executor} with {wanted} workers'))
        executor = await stack.enter_async_context(
            config.executor_plugin.open(slots=wanted, directory=recorder.directory, session=name)
        )
        if executor.ready is not None:
            there = await executor.ready(lambda doing: report(Progress(doing=doing)))
            executor = replace(executor, slots=there)
        log.info('session.opened', executor=config.executor, slots=wanted, broker=broker.name)
        session = Session(
            name=name,
            config=replace(config, broker_plugin=broker, connector_plugin=connector),
            broker=broker,
            connector=connector,
            store=store,
            executor=executor,
            recorder=recorder,
            report=report,
            servers=tuple(servers),
        )
        try:
            yield session
        finally:
            await to_its_end(session.close())
        log.info('session.closed')
