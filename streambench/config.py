"""The options of streambench that belong to no plugin, and the configuration of one point.

How values of any origin become a `Config` is `configure`'s business, what varies is `plan`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.arrivals import CONSTANT, FIXED, arrival_kind, sizes_kind
from streambench.bounds import Bounds, bounds_of
from streambench.brokers.base import BrokerPlugin
from streambench.connectors.base import ConnectorPlugin
from streambench.executors.base import ExecutorPlugin
from streambench.judging_kinds import bounds_kind, thresholds_kind
from streambench.kinds import choice, count, number, seconds, share, size, switch, text
from streambench.load_kinds import LEAST, RATE_MAX, rate_kind
from streambench.options import PLAN, RUN, option, options_of
from streambench.trace import Trace

if TYPE_CHECKING:
    from streambench.thresholds import Threshold

DEFAULT = 'default'
PROXY = 'proxy'
LOOP = 'loop'
WORKER = 'worker'
RECORD_ALL = 'all'
RECORD_NONE = 'none'
TOUR_LOADS = (1.0, 0.8)
# All executors live on one machine: more threads or processes bring it down, not the benchmark.
MOST_WORKERS = 10_000
MOST_ITEMS = 10**9
LOG_LEVELS = ('ERROR', 'WARNING', 'BENCH', 'TEST', 'INFO', 'DEBUG')


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set for a run and belongs to no plugin."""

    stream_method: str = option(
        'How the payload travels: through the broker, or by a ProxyStore proxy.',
        choice(DEFAULT, PROXY),
        default=DEFAULT,
        group='stream',
        scope=RUN,
        axis=True,
        axis_default=(DEFAULT, PROXY),
    )
    data_size_bytes: int = option(
        'Length of every payload, or their mean.',
        size(minimum=1),
        default=100_000,
        group='stream',
        scope=RUN,
        axis=True,
        axis_default=(100_000, 1_000_000),
    )
    task_count: int = option(
        'Items of a run.', count(maximum=MOST_ITEMS), default=64, group='stream', scope=RUN
    )
    duration: float | None = option(
        'How long items are sent, in place of their number.',
        seconds(above=True),
        group='stream',
        scope=RUN,
    )
    warmup: float = option(
        'Time after the first item from which on items count; the warm-up of the workers comes before.',
        seconds(),
        default=0.0,
        group='stream',
        scope=RUN,
    )
    task_sleep: float = option(
        'Time that a compute task sleeps; 0 implies --rate max.',
        seconds(),
        default=0.12,
        group='stream',
        scope=RUN,
        axis=True,
    )
    load: float | None = option(
        'Offered load, rate x task_sleep / compute workers; 1 unless a rate is given.',
        number(minimum=LEAST, maximum=1e6),
        group='stream',
        scope=RUN,
        axis=True,
    )
    rate: float | str | None = option(
        'Offered rate instead of a load; max is a closed loop paced by --max-outstanding credits.',
        rate_kind(),
        group='stream',
        scope=RUN,
        axis=True,
    )
    max_outstanding: int | None = option(
        'Items published and not completed in the closed loop.', count(), group='stream', scope=RUN
    )
    arrival: str = option(
        'When items leave: constant, poisson, burst:N (at once every N intervals), or trace:FILE, a '
        'CSV of offset_s,size_bytes that sets the count and, by its sizes, the data size.',
        arrival_kind(),
        default=CONSTANT,
        group='stream',
        scope=RUN,
    )
    trace_speed: float = option(
        'How many times faster than recorded a trace is replayed.',
        number(minimum=LEAST, maximum=1e6),
        default=1.0,
        group='stream',
        scope=RUN,
    )
    data_size_dist: str = option(
        'Length of payloads: fixed, lognormal:SIGMA (of the logarithm) with --data-size-bytes as mean, '
        'or choice:SIZE=WEIGHT,..., which sets the data size.',
        sizes_kind(),
        default=FIXED,
        group='stream',
        scope=RUN,
    )
    generator: str = option(
        'Where the generator runs: on this event loop, or on one of the workers.',
        choice(LOOP, WORKER),
        default=LOOP,
        group='stream',
        axis=True,
    )
    generators: int = option(
        'Workers that generate, with --generator worker; they share the items.',
        count(),
        default=1,
        group='stream',
    )
    executor: str = option(
        'Executor of the compute tasks.', text('NAME'), default='parsl', group='executor'
    )
    workers: int = option(
        'Workers: one counts as the generator, the others compute.',
        count(maximum=MOST_WORKERS),
        default=4,
        group='executor',
        flag='max_workers',
        aliases=(
            'parsl-max-workers',
            'thread-pool-max-workers',
            'process-pool-max-workers',
            'dask-workers',
        ),
        axis=True,
    )
    max_in_flight: int | None = option(
        'Tasks submitted and not completed; compute workers and what keeps the pipe full.',
        count(),
        group='executor',
        scope=RUN,
    )
    stream: str = option('Broker of the messages.', text('NAME'), default='redis', group='broker')
    stream_topic: str = option(
        "Prefix of each run's topic.", text('TOPIC'), default='stream-benchmark-data', group='broker'
    )
    bind_interface: str | None = option(
        'Interface on which embedded servers can be reached from other hosts: its name, or auto; on '
        'loopback only, if absent.',
        text('NAME'),
        group='broker',
    )
    queue_size: int = option(
        'Items received and not submitted.', count(), default=1000, group='broker', scope=RUN
    )
    queue_bytes: int = option(
        'Memory of those items.', size(minimum=1), default=256_000_000, group='broker', scope=RUN
    )
    ps_connector: str = option(
        'ProxyStore connector of method proxy.', text('NAME'), default='redis', group='connector'
    )
    verify: str | None = option(
        'What a worker checks of a payload; header leaves out the CRC-32; full unless sleep is 0.',
        choice('full', 'header'),
        group='run',
        scope=RUN,
    )
    stall_timeout: float = option(
        'Time without progress that ends a run.',
        seconds(above=True),
        default=30.0,
        group='run',
        scope=RUN,
    )
    loop: str = option(
        'Event loop.', choice('uvloop', 'asyncio'), default='uvloop', group='run', axis=True
    )
    loop_profile: str = option(
        'How closely the event loop is watched: off, or a tick every 20 (lite), 10 or 5 (fine) ms.',
        choice('off', 'lite', 'default', 'fine'),
        default='lite',
        group='run',
        scope=RUN,
    )
    loop_exact: bool = option(
        "On asyncio, replace the selector's select() so that the idle time of the loop is known.",
        switch(),
        default=False,
        group='run',
        scope=RUN,
    )
    bound: tuple[tuple[str, str], ...] = option(
        'Where a verdict changes, in place of a default; README lists the names.',
        bounds_kind(),
        default=(),
        group='run',
        scope=RUN,
    )
    threshold: tuple[str, ...] = option(
        "What figures must meet, such as 'sojourn_p95 < 50ms' 'lost == 0': exit code 99 if one does "
        'not. Any numeric column without its unit; abort: before it ends the plan as soon as it fails.',
        thresholds_kind(),
        default=(),
        group='run',
        scope=PLAN,
    )
    seed: int | None = option(
        'Seed of the plan; drawn and recorded if absent.', count(minimum=0), group='run', scope=PLAN
    )
    repeat: int = option('Repetitions of the whole plan.', count(), default=1, group='run', scope=PLAN)
    until_narrow: float | None = option(
        "Width of the 95 % interval of each point's main figure, as a share of it such as 5%, at which "
        'repeating stops before --repeat.',
        share(),
        group='run',
        scope=PLAN,
    )
    fresh_executor: bool = option(
        'Whether each repetition gets servers, store and executor of its own.',
        switch(),
        default=False,
        group='run',
        scope=PLAN,
    )
    record: str = option(
        'What is kept of the items: their rows, or nothing, which leaves throughput and counts.',
        choice(RECORD_ALL, RECORD_NONE),
        default=RECORD_ALL,
        group='output',
        scope=RUN,
    )
    run_dir: str = option(
        'Directory under which a directory for the results is made.',
        text('DIR'),
        default='runs',
        group='output',
        scope=PLAN,
    )
    csv_file: str = option(
        'Results file, inside the run directory unless absolute.',
        text('FILE'),
        default='results.csv',
        group='output',
        scope=PLAN,
    )
    log_file: str = option(
        'Log file, inside the run directory unless absolute.',
        text('FILE'),
        default='log.jsonl',
        group='output',
        scope=PLAN,
    )
    log_level: str = option(
        'Least level of events on the terminal.',
        choice(*LOG_LEVELS),
        default='WARNING',
        group='output',
        scope=PLAN,
    )
    log_file_level: str = option(
        'Least level of events in the log file; DEBUG brings those of Parsl and other clients too.',
        choice(*LOG_LEVELS),
        default='INFO',
        group='output',
        scope=PLAN,
    )


OPTIONS = options_of(Options)
CHOOSERS = {'executor': 'executor', 'stream': 'broker', 'ps_connector': 'connector'}


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """One point: a value for each option and the plugins that they choose."""

    broker_plugin: BrokerPlugin
    connector_plugin: ConnectorPlugin | None
    executor_plugin: ExecutorPlugin
    trace: Trace | None = None

    @property
    def compute_workers(self) -> int:
        """Workers that run compute tasks."""
        return max(1, self.workers - self.generators)

    @property
    def slots(self) -> int:
        """Workers that the executor is asked for: one more if it runs the generator too."""
        return self.workers if self.generator == WORKER else self.compute_workers

    @property
    def closed_loop(self) -> bool:
        """Whether items are paced by credits instead of a schedule."""
        return self.rate == RATE_MAX

    @property
    def rate_per_s(self) -> float | None:
        """Mean of the items per second that the schedule asks; None if it asks for none."""
        if self.closed_loop:
            return None
        if self.trace is not None:
            rate = self.trace.rate_per_s
            return None if rate is None else rate * self.trace_speed
        if self.rate is not None:
            return float(self.rate)
        return (self.load or 1.0) * self.compute_workers / self.task_sleep

    @property
    def offered_load(self) -> float | None:
        """Rate x task_sleep / compute workers, or None where there is no rate."""
        if self.rate is None and self.trace is None:
            # As it was asked, to the last digit.
            return self.load or 1.0
        rate = self.rate_per_s
        return None if rate is None else rate * self.task_sleep / self.compute_workers

    @property
    def bounds(self) -> Bounds:
        """Where a verdict changes."""
        return bounds_of(self.bound)

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """What the figures of each run must meet."""
        from streambench.thresholds import parse

        return tuple(map(parse, self.threshold))

    @property
    def verify_full(self) -> bool:
        """Whether workers check the CRC-32 too."""
        return (self.verify or ('full' if self.task_sleep > 0 else 'header')) == 'full'
