"""`streambench run`: the plan's runs in a loop of our own, ended well by Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from streambench import log
from streambench.environment import collect
from streambench.errors import (
    EXIT_INTERRUPTED,
    ConfigError,
    StreamBenchError,
    first_exit_code,
)
from streambench.plan import Plan
from streambench.recorder import Recorder, make_run_directory
from streambench.report import ProgressLine, runs_text, screen, workers_text
from streambench.session import Session, open_session
from streambench.verdict import exit_codes


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == 'asyncio':
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        raise ConfigError(
            '--loop uvloop: the package is not installed here; `pip install uvloop`, or --loop asyncio.'
        ) from None
    return uvloop.new_event_loop


def _head(plan: Plan, session: Session) -> str:
    config = session.config
    servers = [*session.servers]
    if not config.broker_plugin.in_process and not servers:
        address = config.broker_plugin.address()
        where = f' {address[0]}:{address[1]}' if address else ''
        servers.append(f'{config.stream}{where}')
    if len(servers) == 2 and servers[0] == servers[1]:
        servers = [f'{servers[0]} ×2']
    detail = getattr(config.executor_plugin, 'parsl_executor', '')
    workers = workers_text(plan.runs[0])
    executor = f'{config.executor} {detail}'.strip()
    return ' · '.join(
        [', '.join(servers) or config.stream, f'{executor}: {workers}', f'seed {plan.seed}']
    )


async def _run(plan: Plan, recorder: Recorder) -> str:
    """Make all runs and return what they were made with."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        # A second signal must not wait for the first one's tidying up.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    line = ProgressLine(sys.stderr, runs=len(plan.runs))
    head = ''
    line.say(runs_text(plan))
    try:
        async with recorder:
            await asyncio.to_thread(_describe, plan, recorder)
            for runs in plan.sessions():
                async with open_session(
                    runs[0].config, slots=runs[0].opened_slots, recorder=recorder, report=line
                ) as session:
                    head = head or _head(plan, session)
                    for spec in runs:
                        await session.run(spec)
    finally:
        line.clear()
    return head


def _describe(plan: Plan, recorder: Recorder) -> None:
    recorder.write_toml('config.toml', plan.values)
    recorder.write_json('environment.json', collect())


def measure(plan: Plan) -> int:
    """Make the runs of a plan, show the results, and return the exit code."""
    factory = _loop_factory(plan.first.loop)
    directory = make_run_directory(plan.first.run_dir)
    log.set_up(
        directory / plan.first.log_file,
        file_level=plan.first.log_file_level,
        terminal_level=plan.first.log_level,
    )
    recorder = Recorder(directory, csv_file=plan.first.csv_file)
    codes: set[int] = set()
    head = ''
    error: StreamBenchError | None = None
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            head = runner.run(_run(plan, recorder))
        except (asyncio.CancelledError, KeyboardInterrupt):
            codes.add(EXIT_INTERRUPTED)
        except StreamBenchError as failure:
            error = failure
            codes.add(failure.exit_code)
    for row in recorder.rows:
        codes |= exit_codes({name: getattr(row, name) for name in row.__slots__})
    if recorder.rows or EXIT_INTERRUPTED in codes:
        with suppress(BrokenPipeError):
            screen(
                recorder.rows,
                head=head,
                directory=str(directory),
                again=shlex.join(['streambench', 'run', '--config', str(directory / 'config.toml')]),
                say=print,
            )
    else:
        _remove_empty(directory)
    if error is not None:
        print(f'streambench: {error}', file=sys.stderr)
    return first_exit_code(codes)


def _remove_empty(directory: Path) -> None:
    """Remove a run directory in which nothing was measured."""
    for name in ('config.toml', 'environment.json', 'log.jsonl'):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()
