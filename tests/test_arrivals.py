"""When items leave and how long they are: drawn as promised, replayed exactly, refused politely."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import uvloop

from streambench import Config, open_session
from streambench.arrivals import Arrivals, Sizes, Traffic, draw_arrivals, draw_sizes, traffic_of
from streambench.clock import NS_PER_S
from streambench.errors import ConfigError
from streambench.pacer import Pacer
from streambench.payload import PayloadPool, faults
from streambench.plan import make_plan
from streambench.records import RunRow
from streambench.run_spec import RunSpec
from streambench.settings import configure
from streambench.trace import read_trace


def offsets(arrival: str, *, items: int, rate: float = 1000.0, seed: int = 1) -> list[int]:
    """Return drawn offsets."""
    drawn = draw_arrivals(arrival, items=items, rate_per_s=rate, seed=seed, trace=None, speed=1.0)
    return list(drawn.offsets_ns)


def test_constant_is_arithmetic() -> None:
    """Item n leaves at exactly n x interval, and a billion of them take no memory."""
    assert offsets('constant', items=5, rate=8) == [
        0,
        125_000_000,
        250_000_000,
        375_000_000,
        500_000_000,
    ]
    many = draw_arrivals('constant', items=10**9, rate_per_s=1000.0, seed=1, trace=None, speed=1.0)
    assert many.constant
    assert many.offsets_ns[10**9 - 1] == (10**9 - 1) * 1_000_000


def test_bursts_leave_together() -> None:
    """`burst:3` sends three at once every three intervals, so the mean rate stays."""
    assert [offset // 1_000_000 for offset in offsets('burst:3', items=8)] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert offsets('burst:1', items=8) == offsets('constant', items=8)


def test_poisson_is_exponential() -> None:
    """Gaps have the mean, deviation and distribution of an exponential, and are uncorrelated."""
    gaps = [b - a for a, b in itertools.pairwise(offsets('poisson', items=20_001))]
    mean_s = statistics.mean(gaps) / NS_PER_S
    assert mean_s == pytest.approx(0.001, rel=0.03)
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(1.0, abs=0.04)
    # Kolmogorov-Smirnov at 1 %: 1.63 / sqrt(n).
    ordered = sorted(gaps)
    distance = max(
        abs((number + 0.5) / len(gaps) - (1 - math.exp(-gap / 1e6)))
        for number, gap in enumerate(ordered)
    )
    assert distance < 1.63 / math.sqrt(len(gaps))
    assert abs(statistics.correlation(gaps[:-1], gaps[1:])) < 0.03


def test_a_seed_is_a_schedule() -> None:
    """The same seed gives the same arrivals and sizes, another one others."""
    assert offsets('poisson', items=50, seed=3) == offsets('poisson', items=50, seed=3)
    assert offsets('poisson', items=50, seed=3) != offsets('poisson', items=50, seed=4)
    assert sizes('lognormal:1', seed=3) == sizes('lognormal:1', seed=3)
    assert sizes('lognormal:1', seed=3) != sizes('lognormal:1', seed=4)


def sizes(distribution: str, *, items: int = 50, mean: int = 10_000, seed: int = 1) -> list[int]:
    """Return drawn sizes."""
    drawn = draw_sizes(distribution, items=items, mean_bytes=mean, seed=seed, trace=None)
    return [drawn[item] for item in range(items)]


@pytest.mark.parametrize('sigma', [0.1, 0.5, 1.0])
def test_lognormal_has_its_mean_and_sigma(sigma: float) -> None:
    """The mean is the data size, and the logarithms have the given deviation."""
    found = sizes(f'lognormal:{sigma}', items=20_000)
    error = 4 * math.sqrt((math.exp(sigma * sigma) - 1) / 20_000)
    assert statistics.mean(found) == pytest.approx(10_000, rel=error)
    assert statistics.stdev(map(math.log, found)) == pytest.approx(sigma, rel=0.03)


def test_choice_has_its_weights() -> None:
    """Sizes come as often as their weights say, and a size without a weight counts once."""
    found = sizes('choice:1kB=3,10kB', items=20_000)
    assert set(found) == {1000, 10_000}
    assert found.count(1000) / 20_000 == pytest.approx(0.75, abs=0.02)


def test_fixed_sizes_take_no_memory() -> None:
    """Every payload has the data size, and nothing is drawn."""
    drawn = draw_sizes('fixed', items=10**9, mean_bytes=77, seed=1, trace=None)
    assert (drawn[10**9 - 1], drawn.varying, drawn.largest_bytes) == (77, False, 77)


def test_traffic_travels_as_plain_data() -> None:
    """A generator elsewhere has exactly the instants and sizes that are known here."""
    drawn = Traffic(
        arrivals=draw_arrivals('poisson', items=40, rate_per_s=10.0, seed=1, trace=None, speed=1.0),
        sizes=Sizes(size_bytes=5, drawn_bytes=array('q', range(1, 41))),
    )
    even = Traffic(arrivals=Arrivals(count=3, interval_ns=7), sizes=Sizes(size_bytes=5))
    for traffic in (drawn, even, replace(even, arrivals=None)):
        copy = traffic_of(traffic.plain())
        assert [copy.sizes[item] for item in range(3)] == [traffic.sizes[item] for item in range(3)]
        assert (copy.arrivals is None) == (traffic.arrivals is None)
        if copy.arrivals and traffic.arrivals:
            assert list(copy.arrivals.offsets_ns) == list(traffic.arrivals.offsets_ns)
            assert copy.arrivals.longest_gap_ns == traffic.arrivals.longest_gap_ns


@pytest.mark.parametrize('largest', [1, 15, 16, 17, 4095, 4096 + 16, 10_000])
def test_payloads_of_any_length_are_whole(largest: int) -> None:
    """Each length up to the longest has the noted checksum, without the whole body being read."""
    pool = PayloadPool(largest, heads=True)
    for sequence, size in enumerate(sorted({1, 15, 16, 17, 4095, 4112, 4113, 8208, 9999, largest})):
        if size > largest:
            continue
        data = pool.whole(sequence, size)
        checksum = pool.checksum(sequence, size)
        fault = faults(data, sequence=sequence, size_bytes=size, checksum=checksum, full=True)
        assert (len(data), fault) == (size, '')
        damaged = bytearray(data)
        damaged[size // 2] ^= 1
        assert faults(bytes(damaged), sequence=sequence, size_bytes=size, checksum=checksum, full=True)


def written(path: Path, text: str) -> str:
    """Return the name of a file with this text."""
    file = path / 'trace.csv'
    file.write_text(text, encoding='utf-8')
    return str(file)


@pytest.mark.parametrize(
    'text',
    [
        '0,10\n0.5,20\n0.5,30\n',
        'offset_s,size_bytes\n0,10\n\n 0.5 , 20\n5e-1,30',
        '\ufeff0,10\r\n.5,20\r\n.5,30\r\n',
    ],
)
def test_a_trace_is_read(text: str, tmp_path: Path) -> None:
    """Header, blank lines, spaces, a byte-order mark and line ends of any kind don't matter."""
    trace = read_trace(written(tmp_path, text))
    assert list(trace.offsets_ns) == [0, 500_000_000, 500_000_000]
    assert trace.sizes_bytes is not None
    assert list(trace.sizes_bytes) == [10, 20, 30]
    assert (trace.rate_per_s, trace.mean_bytes) == (4.0, 20)


def test_a_trace_needs_no_sizes(tmp_path: Path) -> None:
    """Offsets alone are a trace, with or without a header."""
    for text in ('0\n1\n', 'offset_s\n0\n1\n'):
        trace = read_trace(written(tmp_path, text))
        assert (list(trace.offsets_ns), trace.mean_bytes) == ([0, NS_PER_S], None)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('0\nx\n', "line 2: offset_s 'x' must be a number of seconds"),
        ('0\n\n-1\n', "line 3: offset_s '-1' must be from 0"),
        ('0\nnan\n', "line 2: offset_s 'nan' must be from 0"),
        ('0\n2\n1.5\n', "line 3: offset_s '1.5' must not be below 2 of the line before"),
        ('0,5\n1\n', 'line 2: size_bytes must stand in every line or in none'),
        ('0\n1,5\n', 'line 2: size_bytes must stand in every line or in none'),
        ('0,0\n', "line 1: size_bytes '0' must be a whole number of at least 1"),
        ('0,1.5\n', "line 1: size_bytes '1.5' must be a whole number"),
        ('0,1,2\n', 'line 1: 3 fields must be offset_s,size_bytes'),
        ('time,size\n0,1\n', "line 1: offset_s 'time' must be a number of seconds"),
        ('"0\n1",5\n', 'line 1: offset_s'),
        ('offset_s\n', 'has no item'),
    ],
)
def test_a_trace_that_can_not_be_read(text: str, sentence: str, tmp_path: Path) -> None:
    """Every mistake is answered with the file, the line and the reason, in one sentence."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f'--arrival: trace {path!r}')
    assert sentence in str(caught.value)
    assert str(caught.value).endswith('.')


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    """A missing file, a directory and a file of other bytes are told apart."""
    (tmp_path / 'bytes').write_bytes(b'\xff\xfe\x00')
    for name, word in (('none', 'No such file'), ('', 'Is a directory'), ('bytes', 'not CSV text')):
        with pytest.raises(ConfigError, match=word):
            read_trace(str(tmp_path / name))


def test_a_changed_trace_is_read_again(tmp_path: Path) -> None:
    """A file is read once while it stays the same."""
    path = written(tmp_path, '0\n1\n')
    first = read_trace(path)
    assert read_trace(path) is first
    written(tmp_path, '0\n1\n2\n')
    assert len(read_trace(path).offsets_ns) == 3


def point(**values: Any) -> Config:
    """Return a point on the memory broker and simulated workers."""
    given: dict[str, Any] = {
        'executor': 'simulated',
        'stream': 'memory',
        'data_size_bytes': 1000,
        'task_sleep': 0.005,
    }
    merged = given | values
    return configure(**{name: value for name, value in merged.items() if value is not None})


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'arrival': 'sometimes'}, "--arrival: 'sometimes' must be constant, poisson, burst:N"),
        ({'arrival': 'burst'}, "--arrival: 'burst' must be"),
        ({'arrival': 'burst:0'}, "--arrival: 'burst:0' must be"),
        ({'arrival': 'poisson:3'}, "--arrival: 'poisson:3' must be"),
        ({'arrival': 'trace:'}, "--arrival: 'trace:' must be"),
        ({'arrival': 7}, '--arrival: 7 must be'),
        ({'arrival': 'poisson', 'rate': 'max'}, 'has no meaning in a closed loop'),
        ({'arrival': 'burst:2', 'task_sleep': 0}, 'has no meaning in a closed loop'),
        ({'trace_speed': 2}, '--trace-speed 2 is for --arrival trace:FILE'),
        ({'trace_speed': 0}, '--trace-speed: 0 must be at least'),
        ({'data_size_dist': 'normal'}, 'must be fixed, lognormal:SIGMA or choice:SIZE=WEIGHT'),
        ({'data_size_dist': 'lognormal'}, 'must be fixed, lognormal:SIGMA'),
        ({'data_size_dist': 'lognormal:x'}, 'has a part after lognormal: that must be a number'),
        ({'data_size_dist': 'lognormal:0'}, 'that must be above 0'),
        ({'data_size_dist': 'lognormal:9'}, 'that must be at most 2'),
        ({'data_size_dist': 'choice:'}, 'that must be a number of bytes'),
        ({'data_size_dist': 'choice:0=1'}, 'that must be a whole number of bytes of at least 1'),
        ({'data_size_dist': 'choice:1kB=-1'}, 'that must be above 0'),
        ({'data_size_dist': 'choice:1kB=1,1000=2'}, 'that must name 1000 once'),
        (
            {'data_size_dist': 'choice:1kB=1,3kB=1'},
            '--data-size-bytes 1000 does not fit --data-size-dist choice:1kB=1,3kB=1, which sets it to',
        ),
    ],
)
def test_what_can_not_be(values: dict[str, Any], sentence: str) -> None:
    """Each mistake in a load model is answered with the flag, the value and the remedy."""
    with pytest.raises(ConfigError) as caught:
        point(**values)
    assert sentence in str(caught.value)


def test_a_trace_sets_what_it_holds(tmp_path: Path) -> None:
    """Count, mean size and rate follow from a trace; what contradicts it is refused."""
    arrival = 'trace:' + written(tmp_path, '1,100\n2,200\n4,600\n')
    config = point(arrival=arrival, trace_speed=10, data_size_bytes=None)
    assert (config.task_count, config.data_size_bytes) == (3, 300)
    assert config.rate_per_s == pytest.approx(2 / 0.3)
    assert config.offered_load == pytest.approx(2 / 0.3 * 0.005 / 3)
    assert not point(arrival=arrival, data_size_bytes=None, task_sleep=0).closed_loop
    for values, sentence in (
        ({'task_count': 150}, '--task-count 150 does not fit --arrival trace:'),
        ({'data_size_bytes': 1000}, 'which sets it to 300: leave it out'),
        ({'rate': 10}, '--rate 10.0 and --arrival trace:'),
        ({'load': 0.5}, '--load 0.5 and --arrival trace:'),
        ({'data_size_dist': 'lognormal:1'}, 'both set how long payloads are'),
    ):
        with pytest.raises(ConfigError, match=sentence):
            point(**({'arrival': arrival, 'data_size_bytes': None} | values))
    plan = make_plan({'executor': 'simulated', 'stream_method': 'default', 'arrival': arrival})
    assert len(plan.runs) == 1
    # What is recorded can be run again.
    again = make_plan(plan.values)
    assert [run.seed for run in again.runs] == [run.seed for run in plan.runs]
    assert again.runs[0].config == replace(plan.runs[0].config, seed=plan.seed)


async def run(config: Config, directory: Path) -> tuple[RunSpec, RunRow, list[dict[str, Any]]]:
    """Return what a run was, its row, and its measured items in order."""
    async with asyncio.timeout(60), open_session(config, directory=directory) as session:
        result = await session.run()
    assert result.error is None
    table = await asyncio.to_thread(pyarrow.parquet.read_table, directory / 'items')
    items = [item for item in table.to_pylist() if item['phase'] == 'measure']
    return result.spec, result.row, sorted(items, key=lambda item: int(item['sequence']))


TRACE = 'offset_s,size_bytes\n' + ''.join(
    f'{0.1 + 0.004 * (n // 3 * 3) + 0.0015 * (n % 3):.4f},{10 + 137 * n}\n' for n in range(45)
)


@pytest.fixture
def trace_file(tmp_path: Path) -> str:
    """Return the name of a file with a trace."""
    return written(tmp_path, TRACE)


@pytest.mark.parametrize(
    'values',
    [
        {'arrival': 'constant', 'load': 0.8},
        {'arrival': 'poisson', 'load': 0.8},
        {'arrival': 'burst:10', 'load': 0.8},
        {'arrival': 'trace', 'data_size_bytes': None},
        {'arrival': 'trace', 'data_size_bytes': None, 'trace_speed': 2.0},
        {'arrival': 'poisson', 'load': 0.8, 'data_size_dist': 'lognormal:1', 'data_size_bytes': 20_000},
        {'load': 0.8, 'data_size_dist': 'choice:10=1,100kB=1', 'data_size_bytes': None},
    ],
    ids=str,
)
async def test_a_run_follows_its_schedule(
    values: dict[str, Any], tmp_path: Path, trace_file: str
) -> None:
    """Instants and sizes are exactly the drawn ones, payloads are whole, the wait is the queue's."""
    values = dict(values)
    if values.get('arrival') == 'trace':
        values['arrival'] = f'trace:{trace_file}'
    else:
        values['task_count'] = 80
    config = await asyncio.to_thread(lambda: point(**values, seed=5))
    # A machine that takes the core away for 20 ms at the start makes all items of a run late: where
    # the first run misses, the median of three decides.
    over_s = [await over_the_queue_s(config, tmp_path / 'first')]
    if over_s[0] >= 0.005:
        over_s += [await over_the_queue_s(config, tmp_path / name) for name in ('second', 'third')]
    assert statistics.median(over_s) < 0.005, over_s


async def over_the_queue_s(config: Config, directory: Path) -> float:
    """Check a run's schedule; return by how much its median item exceeds the queue and the noise."""
    await asyncio.to_thread(directory.mkdir)
    noise_s = await idle_noise_s()
    spec, row, items = await run(config, directory)
    count = config.task_count
    assert (row.completed_tasks, row.corrupt, row.lost, row.failed) == (count, 0, 0, 0)
    traffic = spec.traffic()
    assert traffic.arrivals is not None
    expected = list(traffic.arrivals.offsets_ns)
    first = items[0]['intended_ns'] - expected[0]
    assert [item['intended_ns'] - first for item in items] == expected
    assert [item['size_bytes'] for item in items] == [traffic.sizes[n] for n in range(count)]
    assert row.bytes_per_s == pytest.approx(
        sum(item['size_bytes'] for item in items) / (row.makespan_s or 0)
    )
    # The ideal server's own figures: what is above them is what this process and machine cost.
    assert row.ideal_makespan_s is not None
    assert row.makespan_s is not None
    assert row.ideal_makespan_s <= row.makespan_s
    free = [0] * config.compute_workers
    above: list[float] = []
    for offset, item in zip(expected, items, strict=True):
        start = max(offset, min(free))
        free[free.index(min(free))] = start + 5_000_000
        above.append((item['end_ns'] - first - start - 5_000_000) / NS_PER_S)
    assert min(above) >= 0
    # A delay of the first items stays for as long as the servers are busy.
    noise_s = max(noise_s, await idle_noise_s())
    makespan_over_s: float = row.makespan_s - row.ideal_makespan_s - 10 * noise_s
    return max(statistics.median(above) - 5 * noise_s, makespan_over_s - 0.045)


async def idle_noise_s() -> float:
    """Return the median lateness of this machine's idle timer, now."""
    from streambench.clock import now_ns

    late = []
    async with Pacer() as pacer:
        for _ in range(20):
            instant = now_ns() + 1_000_000
            await pacer.until(instant)
            late.append(now_ns() - instant)
    return statistics.median(late) / NS_PER_S


async def test_a_worker_s_generator_keeps_the_schedule(tmp_path: Path) -> None:
    """A generator on a thread worker has the arrivals and sizes of one here."""
    config = point(
        executor='thread',
        generator='worker',
        arrival='poisson',
        data_size_dist='lognormal:0.5',
        rate=300,
        task_count=60,
        seed=9,
    )
    spec, row, items = await run(config, tmp_path)
    assert (row.completed_tasks, row.corrupt) == (60, 0)
    traffic = spec.traffic()
    assert traffic.arrivals is not None
    first = items[0]['intended_ns']
    assert [item['intended_ns'] - first for item in items] == list(traffic.arrivals.offsets_ns)
    assert [item['size_bytes'] for item in items] == [traffic.sizes[n] for n in range(60)]


def test_ten_thousand_at_once(tmp_path: Path) -> None:
    """A burst of ten thousand on five thousand simulated servers takes two task times."""
    config = point(
        arrival='burst:10000',
        task_count=10_000,
        workers=5001,
        task_sleep=1.0,
        data_size_bytes=100,
    )
    # Once only: on asyncio in debug mode, sending ten thousand takes longer than all the rest.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _, row, items = runner.run(run(config, tmp_path))
    assert (row.completed_tasks, row.workers_proven, row.max_in_flight) == (10_000, 5000, 15_000)
    assert len({item['intended_ns'] for item in items}) == 1
    assert row.ideal_makespan_s == pytest.approx(2.0)
    events = sorted(
        [(item['submit_ns'], 1) for item in items] + [(item['complete_ns'], -1) for item in items]
    )
    assert max(itertools.accumulate(change for _, change in events)) > 2000
    # Sending ten thousand takes a while; beyond that the servers are exact.
    assert row.makespan_s is not None
    sending_s = (max(item['submit_ns'] for item in items) - items[0]['intended_ns']) / NS_PER_S
    assert 2.0 <= row.makespan_s < 2.5 + sending_s
