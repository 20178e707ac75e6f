"""The schema of every result, in one place: items, the per-second series, and runs.

Each field carries its unit and a sentence; CSV, Parquet, JSON, tables on screen and README are derived
from here. Instants are nanoseconds of `clock.now_ns`, durations seconds, sizes bytes.

Schema history:
    1: items, series and results.
    2: the measurement window, loop wait, demands and bookkeeping; intervals of all percentiles;
        what was recorded, fresh executors, thresholds, unfinished items of aborted runs; how well
        clocks of other hosts are known.
    3: the shortest sojourn, what the broker's server took, and rates of all that completes in a window;
        repetitions are whole blocks, also where their points need several sessions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any

from streambench.stages import stage_columns

SCHEMA_VERSION = 3

WARMUP = 'warmup'
MEASURE = 'measure'

COMPLETED = 'completed'
FAILED = 'failed'
LOST = 'lost'
PUBLISH_FAILED = 'publish_failed'
UNFINISHED = 'unfinished'


def column(doc: str, *, unit: str = '', default: Any = None, late: bool = False) -> Any:
    """Declare a field of a record with its sentence and unit.

    Args:
        doc: What it is.
        unit: Its unit, if it has one.
        default: What it is before anybody has set it.
        late: Whether it is known only when rows are sealed.
    """
    return field(default=default, metadata={'doc': doc, 'unit': unit, 'late': late})


@dataclass(slots=True)
class ItemRow:
    """One item, from the instant it was due to the instant its task came back."""

    run: int = column('Number of the run in the plan, from 0; the screen counts from 1.', default=0)
    sequence: int = column('Number of the item within its phase, from 0.', default=0)
    phase: str = column('`warmup` or `measure`.', default=MEASURE)
    status: str = column(
        '`completed`, `failed`, `lost`, `publish_failed`, or `unfinished` in a run that we ended.',
        default=LOST,
    )
    size_bytes: int = column('Length of the payload.', unit='bytes', default=0)
    intended_ns: int | None = column('When the schedule wanted the item to leave.', unit='ns')
    put_start_ns: int | None = column('When its payload began to leave the generator.', unit='ns')
    put_done_ns: int | None = column('When the store had the payload.', unit='ns')
    send_ns: int | None = column('When the message was handed to the broker client.', unit='ns')
    ack_ns: int | None = column('When the broker confirmed the message.', unit='ns')
    receive_ns: int | None = column('When the dispatcher got the message.', unit='ns')
    submit_ns: int | None = column('Just before the task was given to the executor.', unit='ns')
    start_ns: int | None = column('When the task started on its worker.', unit='ns')
    resolved_ns: int | None = column('When the worker had the payload.', unit='ns')
    verified_ns: int | None = column('When the worker had checked the payload.', unit='ns')
    end_ns: int | None = column('When the task ended on its worker.', unit='ns')
    complete_ns: int | None = column('When the dispatcher knew the outcome.', unit='ns')
    loop_wait_ns: int | None = column(
        'Time in which the loop was busy while the item waited for it; absent where it is unknown.',
        unit='ns',
        late=True,
    )
    in_window: bool = column('Whether it counts: due in the measurement window.', default=False)
    worker_host: str | None = column('Host of the worker, which resolves the payload too.')
    worker_clock: str | None = column('Boot id and time namespace: equal means one clock.')
    worker_pid: int | None = column('Process id of the worker.')
    worker_thread: int | None = column('Native thread id of the worker.')
    reordered: bool = column('Whether it arrived after a later item.', default=False)
    fault: str = column('What was wrong with the payload; empty if it was whole.', default='')
    error: str = column('Why the item failed; empty if it did not.', default='')


@dataclass(slots=True)
class SeriesRow:
    """The state of a run once per second."""

    run: int = column('Number of the run in the plan, from 0; the screen counts from 1.', default=0)
    at_ns: int = column('Instant of the row.', unit='ns', default=0)
    sent: int = column('Items handed to the broker so far.', default=0)
    received: int = column('Items received so far.', default=0)
    submitted: int = column('Tasks given to the executor so far, the warm-up too.', default=0)
    completed: int = column('Tasks whose outcome came back so far.', default=0)
    backlog: int = column('Items sent and not received: they are in the broker.', default=0)
    credits: int | None = column('Credits that are free, of a closed loop.')
    queue_depth: int = column('Items received and not submitted.', default=0)
    queue_bytes: int = column('Memory of those items.', unit='bytes', default=0)
    in_flight: int = column('Tasks submitted and not completed.', default=0)
    backpressure_s: float = column(
        'Seconds the reader has stood still because the queue was full.', unit='s', default=0.0
    )


@dataclass(slots=True)
class LoopSecondRow:
    """One second of the event loop while a run was measured."""

    run: int = column('Number of the run in the plan, from 0; the screen counts from 1.', default=0)
    start_ns: int = column('Begin of the second.', unit='ns', default=0)
    duration_s: float = column('1, or less for the last.', unit='s', default=0.0)
    ticks: int = column('Ticks that were due in it.', default=0)
    wakeups: int = column('Real wake-ups that served them.', default=0)
    lag_p50_s: float | None = column('Median lag of the ticks due in it.', unit='s')
    lag_p99_s: float | None = column('99th percentile of the same.', unit='s')
    lag_max_s: float | None = column('Largest lag.', unit='s')
    stalls: int = column('Stalls that began in it.', default=0)
    stall_s: float = column('Time of stalls that lies in it.', unit='s', default=0.0)
    utilization: float | None = column('Busy share; absent where idle time is unknown.')
    cpu_utilization: float = column("CPU share of the loop's thread.", default=0.0)
    gc_s: float = column('Time of garbage collection.', unit='s', default=0.0)
    iterations: int | None = column('Iterations of the loop, where they are counted.')


@dataclass(slots=True)
class LagRow:
    """One bucket of the histogram of the event loop's lag while a run was measured."""

    run: int = column('Number of the run in the plan, from 0; the screen counts from 1.', default=0)
    low_ns: int = column('The smallest lag that belongs to it.', unit='ns', default=0)
    high_ns: int = column('The smallest lag above it; less than 1 % away.', unit='ns', default=0)
    ticks: int = column('Ticks that were so late, missed ones included.', default=0)


@dataclass(slots=True)
class StallRow:
    """One stall of the event loop while a run was measured."""

    run: int = column('Number of the run in the plan, from 0; the screen counts from 1.', default=0)
    start_ns: int = column('When it began, at best known.', unit='ns', default=0)
    duration_s: float = column('How long the loop was held.', unit='s', default=0.0)
    low_s: float = column('It lasted at least so long.', unit='s', default=0.0)
    high_s: float = column('It lasted at most so long.', unit='s', default=0.0)
    missed_ticks: int = column('Ticks without a wake-up of their own.', default=0)
    cause: str = column('`callback`, `gc`, `gil`, `cpu-starved` or `unattributed`.', default='')
    confidence: str = column('How its stack was seen.', default='')
    task: str = column('Name of the asyncio task that ran, if it was seen.', default='')
    coroutine: str = column('Its coroutine.', default='')
    culprit: str = column('Where the loop stood: `file:line function`.', default='')
    items: int | None = column('Items under way during it.')


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunColumns:
    """One run: what was asked, what happened, and whether to believe it. A row of results.csv."""

    # The eleven columns of psbench, in its order and with its meaning.
    executor: str = column("Class name of the executor, as psbench's.", default='')
    connector: str = column("Class name of the connector, as psbench's; empty without.", default='')
    stream: str = column('Name of the broker.', default='')
    data_size_bytes: int = column('Length of every payload, or their mean.', unit='bytes', default=0)
    task_count: int = column('Items of the measurement.', default=0)
    task_sleep: float = column('Nominal time of a compute task.', unit='s', default=0.0)
    method: str = column('`default` or `proxy`.', default='')
    workers: int = column('Workers: the generator and the compute workers.', default=0)
    completed_tasks: int = column('Items whose task came back well.', default=0)
    start_submit_tasks_timestamp: float = column(
        'First intended send, as seconds since the epoch.', unit='s', default=0.0
    )
    end_tasks_done_timestamp: float = column(
        'Last completion, as seconds since the epoch.', unit='s', default=0.0
    )
    # What was asked.
    schema_version: int = column('Version of this schema.', default=SCHEMA_VERSION)
    run: int = column('Number of the run in the plan, from 0; the screen counts from 1.', default=0)
    point: int = column('Number of the parameter point in the plan, from 0.', default=0)
    repeat: int = column('Number of the repetition, from 0.', default=0)
    executor_plugin: str = column('Registry name of the executor.', default='')
    connector_plugin: str = column('Registry name of the connector; empty without.', default='')
    generator: str = column('Where the generator ran: `loop` or `worker`.', default='')
    generators: int = column('Workers that generated, with `worker`.', default=1)
    compute_workers: int = column('Workers that run compute tasks.', default=0)
    workers_proven: int | None = column('Distinct workers that ran a warm-up item.')
    worker_hosts: str = column('Those workers by host, as `HOST:NUMBER`.', default='')
    slots: int | None = column(
        'Limit on tasks in flight that stands for fewer workers than the executor has.'
    )
    load: float | None = column('Offered load: rate x task_sleep / compute_workers.')
    offered_rate_per_s: float | None = column('Items per second that the schedule asks.', unit='1/s')
    closed_loop: bool = column('Whether the rate was `max`, paced by credits.', default=False)
    arrival: str = column(
        'When items leave: `constant`, `poisson`, `burst:N`, `trace:FILE`.', default=''
    )
    trace_speed: float | None = column('How many times faster than recorded a trace was replayed.')
    data_size_dist: str = column('How the lengths of payloads are distributed.', default='')
    max_outstanding: int | None = column('Credits of the closed loop.')
    max_in_flight: int = column('Most tasks submitted and not completed.', default=0)
    queue_size: int = column('Most items received and not submitted.', default=0)
    queue_bytes: int = column('Most bytes received and not submitted.', unit='bytes', default=0)
    verify: str = column('`full`: length, stamps and CRC-32; `header`: no CRC-32.', default='')
    loop: str = column('Event loop.', default='')
    pacing_floor_s: float | None = column('Smallest interval the pacing keeps.', unit='s')
    seed: int = column('Seed of the run.', default=0)
    warmup_s: float = column('Length of the warm-up after which items count.', unit='s', default=0.0)
    duration_s: float | None = column('How long items were sent, where that was asked.', unit='s')
    record: str = column('What was kept of the items: `all` rows or `none`.', default='')
    fresh_executor: bool = column(
        'Whether each repetition had servers, store and executor of its own.', default=False
    )
    redis_shared: bool = column('Whether broker and store are one Redis server.', default=False)
    # What happened.
    remarks: str = column('What the executor says of these figures.', default='')
    ended: str = column('`complete`, `stalled`, `failed`, `interrupted` or `aborted`.', default='')
    reason: str = column('Why the run ended before its last item.', default='')
    sent: int = column('Items handed to the broker.', default=0)
    publish_failed: int = column('Items whose publishing failed, outcome unknown.', default=0)
    received: int = column('Different items that the dispatcher received.', default=0)
    failed: int = column('Items whose task failed.', default=0)
    lost: int = column('Items sent and never received.', default=0)
    unfinished: int = column(
        'Items under way and no longer waited for when we ended the run, neither failed nor lost.',
        default=0,
    )
    duplicated: int = column('Deliveries of an item that had been delivered.', default=0)
    duplicated_items: str = column('Items that came again, the first twenty.', default='')
    reordered: int = column('Items that arrived after a later one.', default=0)
    corrupt: int = column('Items that did not arrive whole.', default=0)
    foreign: int = column('Messages on the topic that are not of this run.', default=0)
    reconnects: int = column('Times a broker connection was made anew.', default=0)
    resolved_in_dispatcher: int = column(
        "Proxies resolved in the dispatcher's process by an executor of other processes.", default=0
    )
    window_n: int = column('Items due in the measurement window, whose figures follow.', default=0)
    makespan_s: float | None = column('First intended send of the window to last completion.', unit='s')
    ideal_makespan_s: float | None = column(
        'Makespan of a queue without overhead, fed the same arrivals.', unit='s'
    )
    efficiency: float | None = column('ideal_makespan_s / makespan_s; absent at sleep 0.')
    throughput_per_s: float | None = column('Items completed per second of the makespan.', unit='1/s')
    bytes_per_s: float | None = column('Payload completed per second of the makespan.', unit='bytes/s')
    sojourn_n: int = column('Items behind the sojourn figures.', default=0)
    sojourn_p50_s: float | None = column('Median of complete - intended.', unit='s')
    sojourn_p50_low_s: float | None = column('Lower end of its 95 % interval.', unit='s')
    sojourn_p50_high_s: float | None = column('Upper end of its 95 % interval.', unit='s')
    sojourn_p95_s: float | None = column('95th percentile; absent below 59 items.', unit='s')
    sojourn_min_s: float | None = column('Shortest sojourn, also before the window.', unit='s')
    sojourn_max_s: float | None = column('Longest sojourn.', unit='s')
    sojourn_growth_s: float | None = column(
        'Growth of the sojourn per item where the load exceeds what the run could carry.', unit='s'
    )
    delivery_growth_s: float | None = column(
        'Growth of the delivery per item where the broker does not keep up.', unit='s'
    )
    publish_delay_p50_s: float | None = column('Median of put_start - intended.', unit='s')
    publish_delay_max_s: float | None = column('Latest that the generator was.', unit='s')
    backpressure_s: float = column(
        'Seconds the reader stood still because the queue was full.', unit='s', default=0.0
    )
    demand_put_s: float | None = column('Time per item of a generator in the store.', unit='s')
    demand_publish_s: float | None = column('Time per item of it in the broker client.', unit='s')
    demand_loop_s: float | None = column('Busy time of the loop per item, of runs ≥ 50 ms.', unit='s')
    demand_submit_s: float | None = column("Time per item in the executor's submit.", unit='s')
    demand_workers_s: float | None = column('Time per item on a worker, by their number.', unit='s')
    bottleneck: str = column(
        'Station with the largest demand if it was busy for 90 % of the time, or `none: ...`.',
        default='',
    )
    bookkeeping_difference: float | None = column(
        'Time in the system by live counters against the sum over the rows, relative.'
    )
    loop_profile: str = column(
        'How closely the event loop was watched: `off`, `lite`, `default` or `fine`.', default=''
    )
    loop_lag_n: int | None = column('Ticks behind the lag, missed ones included.')
    loop_lag_p50_s: float | None = column('Median lag of the event loop.', unit='s')
    loop_lag_p99_s: float | None = column('99th percentile of the same.', unit='s')
    loop_lag_p99_9_s: float | None = column('99.9th percentile of the same.', unit='s')
    loop_lag_max_s: float | None = column('Largest lag.', unit='s')
    loop_wakeups: int | None = column('Real wake-ups that served those ticks.')
    loop_stalls: int | None = column('Stretches in which the loop was held.')
    loop_stall_s: float | None = column('Time of all stalls.', unit='s')
    loop_stall_share: float | None = column('The same as a share of the measurement.')
    loop_utilization: float | None = column('Busy share of the loop; absent without idle time.')
    loop_utilization_source: str = column('Where idle time was read.', default='')
    loop_cpu: float | None = column("CPU share of the loop's thread.")
    loop_noncpu: float | None = column('Busy and yet not on a core: system calls, GIL, no core free.')
    loop_iterations: int | None = column('Iterations of the loop, where they are counted.')
    gil_wakeup_p99_s: float | None = column(
        'How long a thread waited for GIL and core: 99th percentile.', unit='s'
    )
    gc_s: float | None = column('Time of garbage collections.', unit='s')
    gc_0_max_s: float | None = column('Longest collection of generation 0.', unit='s')
    gc_1_max_s: float | None = column('Longest collection of generation 1.', unit='s')
    gc_2_max_s: float | None = column('Longest collection of generation 2.', unit='s')
    loop_profiler_cost: float | None = column('Share of a core that the watching took, measured.')
    loop_culprit: str = column('Cause of the longest stall and where the loop stood.', default='')
    slow_in_stalls: float | None = column('Share of the items above p99 under way during a stall.')
    loop_answer: str = column("Whether the items above p99 are the loop's or not.", default='')
    broker_cpu: float | None = column(
        "Share of a core that the broker's server took while measured, where it tells."
    )
    machine_busy: float | None = column("Share of the machine's cores busy before the run began.")
    machine_stolen: float | None = column("Share of the run's time that the host gave to others.")
    clock_bound_s: float | None = column(
        "Widest bound of another host's clock, its drift taken off; absent on one clock.", unit='s'
    )
    clock_shift_bound_s: float | None = column(
        'Widest by the tasks before the run; instants of that host were shifted by its middle.',
        unit='s',
    )
    waiting_explained_percent: float | None = column(
        'Share of the waiting for a worker that queueing theory explains; absent without waiting.'
    )
    waiting_unexplained_p50_s: float | None = column('Median of what is not explained.', unit='s')
    waiting_unexplained_p99_s: float | None = column(
        '99th percentile of the same; absent below 299 items.', unit='s'
    )
    waiting_sticks_out: str = column(
        'Items whose unexplained waiting sticks out, the first twenty.', default=''
    )
    thresholds: str = column('What became of each: `pass`, `fail` or `inconclusive`.', default='')
    verdict: str = column('`valid`, `caution` or `invalid`.', default='')
    reasons: str = column('Why the verdict is not `valid`.', default='')


if TYPE_CHECKING:
    RunRow = _RunColumns
else:
    # The columns of the stages are derived, so they are added to those that are written out above.
    RunRow = make_dataclass(
        'RunRow',
        [
            (name, float | None, column(doc, unit=unit))
            for name, unit, doc in stage_columns()
            if name not in {entry.name for entry in fields(_RunColumns)}
        ],
        bases=(_RunColumns,),
        frozen=True,
        slots=True,
        kw_only=True,
    )
    # Where it is found again, in another process too.
    RunRow.__module__ = __name__

PSBENCH_COLUMNS = tuple(entry.name for entry in fields(RunRow))[:11]


def column_names(record: type[Any]) -> tuple[str, ...]:
    """Return the names of a record's columns in their order."""
    return tuple(entry.name for entry in fields(record))
