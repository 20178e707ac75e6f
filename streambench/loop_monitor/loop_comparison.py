"""`--compare-loops`: the same program alternately on asyncio and uvloop, beside a control.

Each round runs the program three times in processes of its own: twice on asyncio, once on uvloop, in
rotating order. asyncio against itself is the control: what differs by no more than that is no
difference. Both are watched at the same level; no selector is replaced in either.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from streambench.loop_monitor.program import EXIT_INTERRUPTED, Program, ends_when_told
from streambench.loop_monitor.refusals import LoopMonitorError
from streambench.loop_monitor.tables import TABLE, Shaped, render

ARMS = ('asyncio', 'control', 'uvloop')
LOOP_OF = {'asyncio': 'asyncio', 'control': 'asyncio', 'uvloop': 'uvloop'}
# Name in the table, key of the child's figures, factor, and the least that is worth a ratio.
FIGURES = (
    ('run time, s', 'loop_wall_s', 1.0, 0.001),
    ('loop thread CPU, s', 'cpu_s', 1.0, 0.001),
    ('lag p50, ms', 'loop_lag_p50_s', 1e3, 1e-6),
    ('lag p99, ms', 'loop_lag_p99_s', 1e3, 1e-6),
    ('lag max, ms', 'loop_lag_max_s', 1e3, 1e-6),
    ('stall time ≥, ms', 'stall_low_s', 1e3, 1e-3),
)
ABSENT = '–'

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDifference:
    """One figure on both loops.

    Attributes:
        name: With its unit.
        asyncio: Median over all runs on asyncio, control included.
        uvloop: Median over all runs on uvloop.
        ratio: Median of uvloop / asyncio over the rounds, None if there is next to nothing to compare.
        low: Smallest of these ratios.
        high: Largest.
        control_low: Smallest ratio of asyncio to itself.
        control_high: Largest.
    """

    name: str
    asyncio: float
    uvloop: float
    ratio: float | None
    low: float | None
    high: float | None
    control_low: float | None
    control_high: float | None

    @property
    def outcome(self) -> str:
        """Whether the loops differ: only if no ratio lies in the control's range, mirrored at 1."""
        if self.ratio is None or self.low is None or self.high is None:
            return 'too small to compare'
        if self.control_low is None or self.control_high is None:
            return 'too small to compare'
        widest = max(self.control_high, 1 / self.control_low, 1.0)
        if self.high < 1 / widest:
            return 'uvloop has less'
        if self.low > widest:
            return 'uvloop has more'
        return 'no difference shown'


def difference(name: str, rounds: Sequence[Mapping[str, float]], least: float) -> LoopDifference:
    """Return how one figure differs.

    Args:
        name: Of the figure.
        rounds: Its value in each arm, round by round.
        least: What is below is noise.
    """
    plain = [value for each in rounds for value in (each['asyncio'], each['control'])]
    other = [each['uvloop'] for each in rounds]
    found: dict[str, float | None] = dict.fromkeys(
        ('ratio', 'low', 'high', 'control_low', 'control_high')
    )
    if min(*plain, *other) >= least:
        ratios = [each['uvloop'] * 2 / (each['asyncio'] + each['control']) for each in rounds]
        controls = [each['control'] / each['asyncio'] for each in rounds]
        found = {
            'ratio': statistics.median(ratios),
            'low': min(ratios),
            'high': max(ratios),
            'control_low': min(controls),
            'control_high': max(controls),
        }
    return LoopDifference(
        name=name, asyncio=statistics.median(plain), uvloop=statistics.median(other), **found
    )


def compare(program: Program, chosen: argparse.Namespace, *, pairs: int) -> int:
    """Run the comparison, print it to standard output, and return the exit code.

    Args:
        program: What to run.
        chosen: Options: its level and duration are used.
        pairs: How many rounds.

    Raises:
        LoopMonitorError: If uvloop isn't there, the program doesn't run on the loop that it is given,
            or an option makes no sense here.
    """
    _check(chosen)
    rounds: list[dict[str, Figures]] = []
    try:
        with ends_when_told(), tempfile.TemporaryDirectory(prefix='streambench-loops-') as place:
            for number in range(pairs):
                order = [ARMS[(number + offset) % len(ARMS)] for offset in range(len(ARMS))]
                found: dict[str, Figures] = {}
                for arm in order:
                    _progress(f'round {number + 1} of {pairs}: {LOOP_OF[arm]}')
                    file = Path(place) / f'{number}-{arm}.json'
                    code, errors = _run_once(program, chosen, loop=LOOP_OF[arm], file=file)
                    if code:
                        _progress('')
                        print(errors, file=sys.stderr)
                        said = f'streambench: {program.text} ended with exit code {code}'
                        print(f'{said} on {LOOP_OF[arm]}: nothing is compared.', file=sys.stderr)
                        return code if code > 0 else 128 - code
                    found[arm] = _figures(file, LOOP_OF[arm])
                rounds.append(found)
    except KeyboardInterrupt:
        _progress('')
        if len(rounds) < 2:
            print('streambench: interrupted before there were two rounds to compare.', file=sys.stderr)
            return EXIT_INTERRUPTED
        print(text(program, chosen.level, rounds, form=chosen.format))
        return EXIT_INTERRUPTED
    _progress('')
    print(text(program, chosen.level, rounds, form=chosen.format))
    return 0


def _check(chosen: argparse.Namespace) -> None:
    if find_spec('uvloop') is None:
        raise LoopMonitorError('uvloop is not installed here: pip install uvloop, then compare')
    given = {
        '--exact': chosen.exact,
        '--loop': chosen.loop,
        '--threshold': chosen.threshold,
        '--speedscope': chosen.speedscope,
        '--trace': chosen.trace,
        '--json': chosen.json,
    }
    for flag, value in given.items():
        if value:
            reason = 'would patch one loop only' if flag == '--exact' else 'is about one run'
            raise LoopMonitorError(f'{flag} {reason}: leave it out of --compare-loops')


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)


def _run_once(
    program: Program, chosen: argparse.Namespace, *, loop: str, file: Path
) -> tuple[int, str]:
    """Run the program in a process of its own; return its exit code and the end of its complaints."""
    words = [sys.executable, '-m', 'streambench.loop_monitor', '--loop', loop, '--level', chosen.level]
    words += ['--json', str(file)]
    if chosen.duration is not None:
        words += ['--duration', str(chosen.duration)]
    with subprocess.Popen(
        [*words, *program.words()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
    ) as child:
        try:
            _, errors = child.communicate()
        except BaseException:
            # At a terminal it got the same Ctrl-C; elsewhere it has to be told.
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
    return child.returncode, '\n'.join(errors.splitlines()[-30:])


def _figures(file: Path, loop: str) -> Figures:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise LoopMonitorError(
            f'the program left no report ({error.strerror}): run it alone'
        ) from error
    loops = {each['loop'] for each in content['loops']}
    if not loops:
        raise LoopMonitorError('the program ran no event loop: there is nothing to compare')
    if loops != {loop}:
        raise LoopMonitorError(
            f'the program ran {" and ".join(sorted(loops))} where {loop} was asked for: it chooses its '
            'loop itself; let it take the default one'
        )
    cpu_s = sum(each['cpu_utilization'] * each['wall_s'] for each in content['loops'])
    # The begin of a stall is known on uvloop and not on asyncio: only the lower bound compares.
    low_s = sum(stall['low_s'] for each in content['loops'] for stall in each['stalls'])
    return {**content['figures'], 'cpu_s': cpu_s, 'stall_low_s': low_s}


def text(
    program: Program, level: str, rounds: Sequence[Mapping[str, Figures]], *, form: str = TABLE
) -> str:
    """Return the comparison as a table with its legend.

    Args:
        program: What ran.
        level: Level of the monitor.
        rounds: Figures of each arm, round by round.
        form: One of `tables.FORMATS`.
    """
    head = ['', 'asyncio', 'uvloop', 'uvloop/asyncio', 'range', 'asyncio/asyncio', '']
    rows, raw = [], []
    for name, key, factor, least in FIGURES:
        values = [{arm: (each[arm][key] or 0.0) for arm in ARMS} for each in rounds]
        found = difference(name, values, least)
        raw.append([*(getattr(found, field.name) for field in fields(found)), found.outcome])
        # In the unit that the name says.
        raw[-1][1:3] = [found.asyncio * factor, found.uvloop * factor]
        rows.append(
            [
                name,
                f'{found.asyncio * factor:.3g}',
                f'{found.uvloop * factor:.3g}',
                ABSENT if found.ratio is None else f'{found.ratio:.3f}',
                _range(found.low, found.high),
                _range(found.control_low, found.control_high),
                found.outcome,
            ]
        )
    title = (
        f'{program.text} on asyncio and uvloop, level {level}, {len(rounds)} rounds in rotating order'
    )
    legend = [
        'A difference is shown only where every round lies outside of what asyncio differs from '
        'itself, up or down.',
        'No selector is replaced; libuv accounts for its idle time, which costs uvloop up to 1 %.',
    ]
    if form != TABLE:
        names = [*(field.name for field in fields(LoopDifference)), 'outcome']
        notes = [title, *legend]
        return render(Shaped(names=names, rows=raw, head=head, texts=rows, notes=notes), form)
    widths = [max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
    lines = [
        '  '.join(
            cell.ljust(width) if number in (0, len(row) - 1) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return '\n'.join([title, '', *lines, '', *legend])


def _range(low: float | None, high: float | None) -> str:
    return ABSENT if low is None or high is None else f'{low:.3f}–{high:.3f}'
