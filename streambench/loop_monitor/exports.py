"""Reports for other programs: plain JSON, speedscope's flame graphs, and Chrome's trace events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from streambench.loop_monitor.culprits import charges, culprits
from streambench.loop_monitor.figures import METRICS, column, figures
from streambench.loop_monitor.report import Frame, LoopReport, StallEvent

VERSION = 1
SPEEDSCOPE_SCHEMA = 'https://www.speedscope.app/file-format-schema.json'
NS_PER_US = 1000
# Shorter pauses would fill a trace and explain nothing.
LEAST_PAUSE_NS = 100_000

Json = dict[str, Any]


def plain(reports: Sequence[LoopReport]) -> Json:
    """Return all that was found, durations in seconds, instants in ns.

    Args:
        reports: One for each loop of a program.
    """
    values = figures(reports)
    return {
        'version': VERSION,
        'figures': {column(metric): values[metric] for metric in METRICS},
        'culprits': [asdict(culprit) for culprit in culprits(reports)],
        'loops': [asdict(report) for report in reports],
    }


class _Frames:
    """The frames that a speedscope file shares among its profiles."""

    def __init__(self) -> None:
        self.found: list[Json] = []
        self._numbers: dict[object, int] = {}

    def frame(self, frame: Frame) -> int:
        # One function is one frame, whatever its line.
        key = frame.function, frame.file
        return self._number(key, {'name': frame.function, 'file': frame.file, 'line': frame.line})

    def label(self, text: str) -> int:
        return self._number(text, {'name': text})

    def _number(self, key: object, entry: Json) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self.found)
            self.found.append(entry)
        return self._numbers[key]


def _samples(stall: StallEvent, frames: _Frames) -> Iterable[tuple[list[int], float]]:
    """Return the stacks of one stall with the time of each; together they last as long as it did."""
    left = stall.duration_s
    for part in charges(stall):
        stack = [frames.frame(frame) for frame in part.frames]
        if part.cause == 'gil':
            stack.insert(0, frames.label(f'[GIL held by thread {part.thread}]'))
        elif part.cause == 'gc':
            stack.append(frames.label('[garbage collection]'))
        elif part.cause == 'cpu-starved':
            stack.append(frames.label('[no core to run on]'))
        left -= part.time_s
        yield stack, part.time_s
    if left > 0:
        yield [frames.label('[unattributed]')], left


def speedscope(reports: Sequence[LoopReport], *, name: str) -> Json:
    """Return a speedscope file whose weights are stall time, in µs: a flame graph of stalls only.

    Args:
        reports: One for each loop, which becomes a profile.
        name: What was profiled.

    Returns:
        The file format 0.0.1 of speedscope's schema, profiles of type `sampled`.
    """
    frames = _Frames()
    profiles = []
    for number, report in enumerate(reports, 1):
        samples: list[list[int]] = []
        weights: list[float] = []
        for stall in report.stalls:
            for stack, weight_s in _samples(stall, frames):
                samples.append(stack)
                weights.append(round(weight_s * 1e6, 3))
        profiles.append(
            {
                'type': 'sampled',
                'name': f'loop {number} ({report.loop}): {report.stall_count} stalls',
                'unit': 'microseconds',
                'startValue': 0,
                'endValue': sum(weights),
                'samples': samples,
                'weights': weights,
            }
        )
    return {
        '$schema': SPEEDSCOPE_SCHEMA,
        'name': name,
        'exporter': 'streambench',
        'activeProfileIndex': 0,
        'shared': {'frames': frames.found},
        'profiles': profiles,
    }


def _us(instant_ns: int, origin_ns: int) -> float:
    return (instant_ns - origin_ns) / NS_PER_US


def _stall_event(stall: StallEvent, *, origin_ns: int, pid: int, tid: int) -> Json:
    first = next((part.frames for part in charges(stall) if part.frames), ())
    name = stall.cause if not first else f'{stall.cause}: {first[-1].function}'
    args: Json = {
        'cause': stall.cause,
        'task': stall.task,
        'coroutine': stall.coroutine,
        'at least ms': stall.low_s * 1000,
        'at most ms': stall.high_s * 1000,
        'cpu ms': stall.cpu_s * 1000,
        'gc ms': stall.gc_s * 1000,
        'missed ticks': stall.missed_ticks,
        'confidence': stall.confidence,
        'stacks': [
            {
                'ms': stack.weight_s * 1000,
                'frames': [str(frame) for frame in reversed(stack.frames)],
            }
            for stack in stall.stacks
        ],
        'other threads': [
            {'thread': other.thread, 'frames': [str(frame) for frame in reversed(other.frames)]}
            for other in stall.other_threads
        ],
    }
    return {
        'name': name,
        'cat': 'stall',
        'ph': 'X',
        'ts': _us(stall.start_ns, origin_ns),
        'dur': (stall.end_ns - stall.start_ns) / NS_PER_US,
        'pid': pid,
        'tid': tid,
        'args': args,
    }


def _counters(report: LoopReport, *, number: int, origin_ns: int, pid: int) -> Iterable[Json]:
    """Yield counters second by second, and an end to each: it would go on through the next loop's time.

    What has several values is drawn as a pile: only what adds up is one counter.
    """
    last: dict[str, Json] = {}
    for second in report.seconds:
        lags = {'p50': second.lag_p50_s, 'p99': second.lag_p99_s, 'max': second.lag_max_s}
        found = {
            f'loop {number} lag {key} (ms)': {'ms': value * 1000}
            for key, value in lags.items()
            if value is not None
        }
        shares = {'CPU': second.cpu_utilization * 100}
        if second.utilization is not None:
            shares['not CPU'] = max(0.0, second.utilization - second.cpu_utilization) * 100
        found[f'loop {number} busy (%)'] = shares
        for name, values in found.items():
            last[name] = dict.fromkeys(values, 0.0)
            yield _counter(name, values, _us(second.start_ns, origin_ns), pid)
    for name, values in last.items():
        yield _counter(name, values, _us(report.end_ns, origin_ns), pid)


def _counter(name: str, values: Mapping[str, float], at_us: float, pid: int) -> Json:
    return {'name': name, 'ph': 'C', 'pid': pid, 'ts': at_us, 'args': values}


def trace_events(
    reports: Sequence[LoopReport],
    *,
    name: str,
    pid: int,
    pauses: Sequence[tuple[int, int]] = (),
) -> Json:
    """Return a trace in the JSON object format that Chrome and Perfetto read, times in µs.

    Stalls are slices, lag and utilization are counters of each second, garbage collections are a row of
    their own.

    Args:
        reports: One for each loop, which becomes a row.
        name: What was profiled.
        pid: Of the process.
        pauses: Begin and end of garbage collections, in ns of the reports' clock.
    """
    origin_ns = min((report.start_ns for report in reports), default=0)
    events: list[Json] = [_metadata('process_name', pid, 0, name)]
    for number, report in enumerate(reports, 1):
        events.append(_metadata('thread_name', pid, number, f'loop {number} ({report.loop})'))
        events += [
            _stall_event(stall, origin_ns=origin_ns, pid=pid, tid=number) for stall in report.stalls
        ]
        events += _counters(report, number=number, origin_ns=origin_ns, pid=pid)
    row = len(reports) + 1
    long = [
        pause for pause in pauses if pause[1] - pause[0] >= LEAST_PAUSE_NS and pause[0] >= origin_ns
    ]
    if long:
        events.append(_metadata('thread_name', pid, row, 'garbage collection'))
    events += [
        {
            'name': 'gc',
            'cat': 'gc',
            'ph': 'X',
            'ts': _us(begin, origin_ns),
            'dur': (end - begin) / NS_PER_US,
            'pid': pid,
            'tid': row,
            'args': {},
        }
        for begin, end in long
    ]
    return {'traceEvents': events, 'displayTimeUnit': 'ms', 'otherData': _other_data(reports)}


def _metadata(kind: str, pid: int, tid: int, name: str) -> Json:
    return {'name': kind, 'ph': 'M', 'pid': pid, 'tid': tid, 'args': {'name': name}}


def _other_data(reports: Sequence[LoopReport]) -> Mapping[str, str]:
    return {
        'program': 'streambench loop',
        'levels': ' '.join(dict.fromkeys(report.level for report in reports)),
    }
