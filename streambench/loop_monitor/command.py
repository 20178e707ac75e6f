"""`streambench loop`: profile somebody else's asyncio program, unchanged."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from streambench.loop_monitor import limits
from streambench.loop_monitor.exports import plain, speedscope, trace_events
from streambench.loop_monitor.figures import figures
from streambench.loop_monitor.hooks import MAX_LOOPS, LoopHooks
from streambench.loop_monitor.levels import LEVELS
from streambench.loop_monitor.limits import Limit, Outcome
from streambench.loop_monitor.program import Program, ends_when_told, run
from streambench.loop_monitor.refusals import LoopMonitorError, free_threaded
from streambench.loop_monitor.report import LoopReport
from streambench.loop_monitor.tables import FORMATS, TABLE, render
from streambench.loop_monitor.verdict import shaped, verdict

USAGE = (
    'streambench loop [OPTION ...] SCRIPT.py [ARGUMENT ...]\n'
    '       streambench loop [OPTION ...] -m MODULE [ARGUMENT ...]\n'
    '       streambench loop [OPTION ...] --pid N'
)
EXIT_USAGE = 2
PAIRS = 5


@dataclass(frozen=True, slots=True)
class _Found:
    """What a run of a program, or a look into a live one, came to."""

    name: str
    words: Sequence[str]
    reports: Sequence[LoopReport]
    not_watched: Sequence[str]
    pauses: Sequence[tuple[int, int]]
    pid: int
    code: int


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        flag = message.removeprefix('unrecognized arguments: ').partition('=')[0]
        near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
        if near and flag != message:
            raise LoopMonitorError(f'there is no flag {flag}; did you mean {near[0]}?')
        raise LoopMonitorError(f'{message}; `streambench loop --help` shows what there is.')


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix('s'))
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} must be seconds above 0, such as 10 or 2.5')
    return value


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 3:
        raise argparse.ArgumentTypeError(f'{text!r} must be a whole number of at least 3')
    return value


def _process(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text!r} must be the number of a process')
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options; what comes after them belongs to the program."""
    found = _Parser(
        prog='streambench loop',
        usage=USAGE,
        description='Run an asyncio program unchanged, watch every event loop that it runs, and say '
        'how late it was, who held it up and for how long. The report goes to standard error; the exit '
        "code is the program's, or 99 if a threshold is missed.",
        allow_abbrev=False,
    )
    add = found.add_argument
    add(
        '--duration',
        type=_seconds,
        metavar='S',
        help='end the program after S seconds, as Ctrl-C would',
    )
    add(
        '--level',
        choices=[name for name in LEVELS if name != 'off'],
        default='default',
        help='tick every 20, 10 or 5 ms (default: default)',
    )
    add(
        '--exact',
        action='store_true',
        help="on asyncio, replace the selector's select(): exact utilization and begin of stalls "
        '(uvloop tells them in any case)',
    )
    add(
        '--threshold',
        action='append',
        default=[],
        metavar='EXPRESSION',
        help="such as 'loop_lag_p99 < 5ms' or 'loop_stalls == 0'; repeatable; exit code 99 if missed",
    )
    add(
        '--format',
        choices=FORMATS,
        default=TABLE,
        help='how the table of culprits is written: for eyes, for programs (raw values), or Markdown '
        f'(default: {TABLE})',
    )
    add('--speedscope', metavar='FILE', help='write a flame graph of the stalls only, for speedscope')
    add('--trace', metavar='FILE', help='write trace events, for Perfetto or Chrome')
    add('--json', metavar='FILE', help='write everything that was found')
    add(
        '--compare-loops',
        action='store_true',
        help='run the program alternately on asyncio and uvloop, beside asyncio against itself',
    )
    add(
        '--pairs',
        type=_count,
        metavar='N',
        help=f'how often each loop runs the program, with --compare-loops (default: {PAIRS})',
    )
    add(
        '--loop',
        choices=['asyncio', 'uvloop'],
        help='run the program on this loop where it lets one choose',
    )
    add(
        '--pid',
        type=_process,
        metavar='N',
        help="watch the main thread's loop of a live process instead, until Ctrl-C or for --duration; "
        'Python 3.14 or newer, the same here and there',
    )
    return found


def split(words: Sequence[str], options: argparse.ArgumentParser) -> tuple[list[str], Program | None]:
    """Return the words of our own options, and the program that follows them, None if there is none."""
    valued = {
        flag
        for action in options._actions
        if action.nargs is None and action.option_strings
        for flag in action.option_strings
    }
    at = 0
    while at < len(words):
        word = words[at]
        if word == '-m':
            if at + 1 == len(words):
                raise LoopMonitorError(
                    '-m needs the name of a module: streambench loop -m package.module'
                )
            return list(words[:at]), Program(
                target=words[at + 1], module=True, arguments=tuple(words[at + 2 :])
            )
        if word == '--' or not word.startswith('-') or word == '-':
            begin = at + (word == '--')
            own, rest = list(words[:at]), list(words[begin:])
            if not rest:
                return own, None
            return own, Program(target=rest[0], module=False, arguments=tuple(rest[1:]))
        at += 2 if word in valued else 1
    return list(words), None


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Args:
        words: The words after `streambench loop`.
    """
    try:
        options = parser()
        own, program = split(words, options)
        chosen = options.parse_args(own)
        wanted = [limits.parse(text) for text in chosen.threshold]
        if chosen.pid is not None:
            return _attach(program, chosen, wanted)
        if program is None:
            raise LoopMonitorError(
                'there is no program to profile: give a SCRIPT.py or -m MODULE; `streambench loop '
                '--help` shows what there is.'
            )
        program.check()
        return _profile(program, chosen, wanted)
    except LoopMonitorError as error:
        _say(f'streambench: {error}')
        return EXIT_USAGE
    except SystemExit as end:
        # argparse ends so after --help.
        return int(end.code or 0)


def _say(text: str) -> None:
    # Standard output is the program's own.
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _profile(program: Program, chosen: argparse.Namespace, wanted: Sequence[Limit]) -> int:
    if free_threaded():
        raise LoopMonitorError(
            'this is a free-threaded build of Python, where the stack of a running thread cannot be '
            'read safely: use a build with the GIL'
        )
    if chosen.compare_loops:
        from streambench.loop_monitor.loop_comparison import compare

        return compare(program, chosen, pairs=chosen.pairs or PAIRS)
    if chosen.pairs:
        raise LoopMonitorError('--pairs says how often --compare-loops runs the program: give both')
    for name in (chosen.json, chosen.speedscope, chosen.trace):
        _check_place(name)
    pid = os.getpid()
    hooks = LoopHooks(
        level=chosen.level, exact=chosen.exact, pauses=bool(chosen.trace), force=chosen.loop
    )
    with hooks.installed():
        code = run(program, duration_s=chosen.duration)
        if os.getpid() != pid:
            # A child that the program has forked: the report is its parent's.
            return code
        reports = hooks.finish()
    not_watched = [*hooks.refusals]
    if hooks.left_out:
        not_watched.append(f'{hooks.left_out:,} loops after the first {MAX_LOOPS}')
    found = _Found(program.text, program.words(), reports, not_watched, hooks.pauses, pid, code)
    return _tell(found, chosen, wanted)


def _attach(program: Program | None, chosen: argparse.Namespace, wanted: Sequence[Limit]) -> int:
    if program is not None or chosen.compare_loops or chosen.pairs or chosen.loop:
        raise LoopMonitorError(
            '--pid watches a process that runs already: leave out the program, --loop and '
            '--compare-loops'
        )
    from streambench.loop_monitor.attach import watch

    for name in (chosen.json, chosen.speedscope, chosen.trace):
        _check_place(name)
    with ends_when_told():
        report = watch(
            chosen.pid, level=chosen.level, exact=chosen.exact, duration_s=chosen.duration, say=_say
        )
    words = ['--pid', str(chosen.pid)]
    found = _Found(' '.join(words), words, [report], [], (), chosen.pid, 0)
    return _tell(found, chosen, wanted)


def _tell(found: _Found, chosen: argparse.Namespace, wanted: Sequence[Limit]) -> int:
    """Print and write what was found; return the exit code."""
    outcomes = [limit.evaluate(figures(found.reports)) for limit in wanted]
    if chosen.format == TABLE:
        _say(_text(found, outcomes))
    else:
        notes = [f'not watched: {reason}' for reason in found.not_watched]
        notes += [outcome.text for outcome in outcomes]
        _say(render(shaped(found.reports, notes), chosen.format))
    written = _write(found, outcomes, chosen)
    return found.code or (0 if written else 3) or limits.exit_code(outcomes)


def _check_place(name: str | None) -> None:
    """Raise LoopMonitorError now rather than after an hour if a file can't be written there."""
    if name is not None and not Path(name).absolute().parent.is_dir():
        raise LoopMonitorError(f'{name}: there is no such directory: make it first')


def _text(found: _Found, outcomes: Sequence[Outcome]) -> str:
    ended = f' · exit code {found.code}' if found.code else ''
    lines = ['', f'── streambench loop · {found.name}{ended}', verdict(found.reports)]
    lines += [f'- not watched: {reason}' for reason in found.not_watched]
    if outcomes:
        lines += ['', *(outcome.text for outcome in outcomes)]
    return '\n'.join(lines)


def _write(found: _Found, outcomes: Sequence[Outcome], chosen: argparse.Namespace) -> bool:
    """Write the files that were asked for; return whether all could be."""
    files: dict[str, Any] = {}
    if chosen.json:
        files[chosen.json] = {
            'program': found.words,
            'exit_code': found.code,
            **plain(found.reports),
            'thresholds': [
                {'text': outcome.limit.text, 'grade': outcome.grade, 'value': outcome.value}
                for outcome in outcomes
            ],
            'not_watched': found.not_watched,
        }
    if chosen.speedscope:
        files[chosen.speedscope] = speedscope(found.reports, name=f'stalls of {found.name}')
    if chosen.trace:
        files[chosen.trace] = trace_events(
            found.reports, name=found.name, pid=found.pid, pauses=found.pauses
        )
    well = True
    for file, content in files.items():
        try:
            with open(file, 'w', encoding='utf-8') as out:
                json.dump(content, out)
                out.write('\n')
        except OSError as error:
            _say(f'streambench: {file} can not be written ({error.strerror}): give another place.')
            well = False
        else:
            _say(f'wrote {shlex.quote(file)}')
    return well
