"""`streambench run`: the plan's runs in a loop of our own, ended well by signals."""

from __future__ import annotations

import asyncio
import itertools
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from streambench import log
from streambench.cli.apart import make_apart
from streambench.cli.sessions import Made, loop_factory, make_here
from streambench.cli.signals import like_ctrl_c
from streambench.cli.terminal import aside, colored, complain, moves, say, width
from streambench.environment import collect
from streambench.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_THRESHOLD,
    ConfigError,
    ExecutorError,
    StreamBenchError,
    first_exit_code,
)
from streambench.outcomes import outcomes
from streambench.plan import Plan
from streambench.progress import CLEAR, ProgressLine
from streambench.recorder import ITEMS, Recorder, make_run_directory
from streambench.records import RunRow, column_names
from streambench.report import runs_text, screen
from streambench.tables import TABLE
from streambench.thresholds import FAIL, exit_code
from streambench.verdict import ABORTED, COMPLETE, INVALID, exit_codes

OUR_FILES = (
    'config.toml',
    'environment.json',
    'summary.json',
    'items',
    'series',
    'loop',
    'lags',
    'stalls',
    'runinfo',
)


def _describe(plan: Plan, recorder: Recorder) -> None:
    recorder.write_toml('config.toml', plan.values)
    recorder.write_json('environment.json', collect())


def measure(plan: Plan, *, form: str = TABLE) -> int:
    """Make the runs of a plan, show the results, and return the exit code.

    Args:
        plan: The plan.
        form: How results are shown, one of `tables.FORMATS`.
    """
    for name in {spec.config.loop for spec in plan.runs}:
        loop_factory(name)
    _check_names(plan)
    codes: set[int] = set()
    made = Made()
    recorder: Recorder | None = None
    with like_ctrl_c():
        try:
            recorder = _recorder(plan)
            _describe(plan, recorder)
            _make(plan, recorder, made)
        except (asyncio.CancelledError, KeyboardInterrupt):
            codes.add(EXIT_INTERRUPTED)
        except StreamBenchError as failure:
            made.errors.insert(0, failure)
            codes.add(failure.exit_code)
    rows = recorder.rows if recorder else []
    missed: list[str] = []
    for row in rows:
        columns = {name: getattr(row, name) for name in column_names(RunRow)}
        codes |= exit_codes(columns)
        found = outcomes(plan.first.thresholds, columns)
        codes |= {exit_code(found)} - {EXIT_OK}
        missed += [f'run {row.run + 1}: {outcome.text}' for outcome in found if outcome.grade == FAIL]
    measured = any(row.sent for row in rows)
    if recorder is not None and measured:
        try:
            screen(
                rows,
                head='\n'.join(dict.fromkeys(made.heads)) + f' · seed {plan.seed}',
                directory=str(recorder.directory),
                again=shlex.join(
                    ['streambench', 'run', '--config', str(recorder.directory / 'config.toml')]
                ),
                say=say,
                aside=aside,
                plan=plan,
                form=form,
                width=width(),
            )
        except BrokenPipeError:
            # Who reads the first line only has the rest in the run directory.
            pass
        except StreamBenchError as failure:
            made.errors.append(failure)
            codes.add(failure.exit_code)
    if EXIT_INTERRUPTED in codes:
        done = sum(row.ended == COMPLETE for row in rows)
        complain(f'interrupted after {done} of {len(plan.runs)} runs.')
    elif made.errors:
        complain(str(made.errors[0]))
    elif codes == {EXIT_THRESHOLD} and recorder is not None:
        more = f' and {len(missed) - 1} more' if len(missed) > 1 else ''
        complain(f'threshold missed in {missed[0]}{more}; look into {recorder.directory}.')
    elif codes and recorder is not None:
        worst = next(row for row in rows if row.verdict == INVALID)
        complain(f'run {worst.run + 1} is invalid: {worst.reasons}; look into {recorder.directory}.')
    if made.ended == ABORTED and len(rows) < len(plan.runs):
        complain(f'a threshold with abort: ended the plan after {len(rows)} of {len(plan.runs)} runs.')
    if recorder is not None and not measured and not _worth_keeping(recorder, made.errors):
        # It was made for these runs, so everything in it is theirs.
        shutil.rmtree(recorder.directory, ignore_errors=True)
    return first_exit_code(codes)


def _worth_keeping(recorder: Recorder, errors: Sequence[Exception]) -> bool:
    """Return whether items were written for which no row was, or an error points at logs."""
    # A process of its own that was killed may have written what nobody here knows of.
    if not recorder.rows and any((recorder.directory / ITEMS).glob('part-*.parquet')):
        return True
    place = str(recorder.directory)
    return any(isinstance(error, ExecutorError) and place in str(error) for error in errors)


def _make(plan: Plan, recorder: Recorder, made: Made) -> None:
    """Make all runs, each in a loop of its kind."""
    line = ProgressLine(sys.stderr, runs=len(plan.runs), moving=moves(sys.stderr))
    line.say(runs_text(plan))
    by_loop = [
        list(sessions)
        for _, sessions in itertools.groupby(plan.sessions(), lambda runs: runs[0].config.loop)
    ]
    make = make_here if len(by_loop) == 1 else make_apart
    for sessions in by_loop:
        make(plan, sessions, recorder, made, line)
        if made.ended:
            return


def _check_names(plan: Plan) -> None:
    """Raise ConfigError if a file of the user's would take the place of one of ours."""
    config = plan.first
    for flag, name in (('--csv-file', config.csv_file), ('--log-file', config.log_file)):
        if Path(name).parts[:1] and Path(name).parts[0] in OUR_FILES:
            raise ConfigError(f'{flag}: {name!r} is a name of ours in the run directory; take another.')
    if Path(config.csv_file) == Path(config.log_file):
        raise ConfigError(
            f'--csv-file and --log-file are both {config.csv_file!r}: give one of them another name.'
        )


def _recorder(plan: Plan) -> Recorder:
    """Make the run directory and all that writes into it.

    Raises:
        ConfigError: If something can't be written.
    """
    config = plan.first
    directory = make_run_directory(config.run_dir)
    try:
        _check_file(directory, config.csv_file, '--csv-file', head=','.join(column_names(RunRow)))
        _check_file(directory, config.log_file, '--log-file')
        log.set_up(
            directory / config.log_file,
            file_level=config.log_file_level,
            terminal_level=config.log_level,
            colors=colored(sys.stderr),
            begin=CLEAR if moves(sys.stderr) else '',
        )
        return Recorder(directory, csv_file=config.csv_file)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _check_file(directory: Path, name: str, flag: str, *, head: str = '') -> None:
    """Raise ConfigError if a file can't be appended to, or begins with another head."""
    path = directory / name
    try:
        if not Path(name).is_absolute():
            path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        with path.open('a+', encoding='utf-8', errors='replace') as file:
            file.seek(0)
            first = file.readline().strip()
        if fresh:
            path.unlink()
    except OSError as error:
        raise ConfigError(
            f'{flag}: {name!r} can not be written ({error.strerror}); name a file that can.'
        ) from None
    if head and first and first != head:
        raise ConfigError(f'{flag}: {name!r} holds other columns than results have; name another file.')
