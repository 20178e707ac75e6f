"""Sessions in a process of their own, so that nothing one kind of event loop leaves meets the other.

The parent gives it the runs by its standard input, and ends it by closing that: the child ends so too
if the parent is killed. Results are written by the child; rows and errors come back by a pipe.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from asyncio import CancelledError, get_running_loop
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench import log
from streambench.cli.sessions import Made, Sessions, make_here
from streambench.cli.signals import ending
from streambench.cli.terminal import colored, moves
from streambench.errors import RunError, StreamBenchError
from streambench.plan import Plan
from streambench.progress import CLEAR, ProgressLine
from streambench.recorder import Recorder, Written

# As multiprocessing does: modules are found where the parent finds them.
_BEGIN = """\
import pickle, signal, sys
for number in {numbers}:
    signal.signal(number, lambda *_: None)
sys.path[:] = pickle.load(sys.stdin.buffer)
from streambench.cli.apart import child
child({left})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What the child is given.

    Attributes:
        plan: The plan that the runs belong to.
        sessions: The runs, session by session.
        directory: The run directory.
        written: What is in it already.
        begun_at: When the plan began, of time.monotonic.
    """

    plan: Plan
    sessions: Sessions
    directory: Path
    written: Written
    begun_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What the child gives back.

    Attributes:
        written: What is in the run directory.
        made: What else came of the runs.
        failure: What ended the sessions.
        interrupted: Whether they were interrupted.
    """

    written: Written
    made: Made
    failure: StreamBenchError | None
    interrupted: bool


def make_apart(
    plan: Plan, sessions: Sessions, recorder: Recorder, made: Made, line: ProgressLine
) -> None:
    """Make the runs of sessions that share a kind of loop, in a process of their own.

    Args:
        plan: The plan that they belong to.
        sessions: Their runs, session by session.
        recorder: Takes the results.
        made: Takes what else comes of them.
        line: Says what is being done.

    Raises:
        StreamBenchError: If a session can't be opened or go on, or the process dies.
        KeyboardInterrupt: If they were interrupted.
    """
    given = _Given(
        plan=plan,
        sessions=sessions,
        directory=recorder.directory,
        written=recorder.written,
        begun_at=line.begun_at,
    )
    back, left = os.pipe()
    with open(back, 'rb', buffering=0) as answer:
        try:
            process = subprocess.Popen(
                [sys.executable, '-c', _BEGIN.format(left=left, numbers=[*map(int, ending())])],
                stdin=subprocess.PIPE,
                pass_fds=[left],
                bufsize=0,
            )
        finally:
            os.close(left)
        content, interrupted = _talk(process, pickle.dumps(sys.path) + pickle.dumps(given), answer)
    found: _Left | None = pickle.loads(content) if content else None
    if found is not None:
        recorder.go_on(found.written)
        made.heads += found.made.heads
        made.errors += found.made.errors
        made.ended = found.made.ended
    if interrupted or (found is not None and found.interrupted):
        raise KeyboardInterrupt
    if found is not None and found.failure is not None:
        raise found.failure
    if found is None:
        raise RunError(
            f'the process of the runs on {sessions[0][0].config.loop} ended with exit code '
            f'{process.returncode}: look into {str(recorder.directory)!r}.'
        )


def _talk(process: subprocess.Popen[bytes], content: bytes, answer: Any) -> tuple[bytes, bool]:
    """Return what the process answers, and whether it was to end early."""
    assert process.stdin is not None
    parts: list[bytes] = []
    interrupted = False
    with process:
        try:
            process.stdin.write(content)
        except BrokenPipeError:
            # It has ended; its exit code says how.
            pass
        except KeyboardInterrupt:
            process.kill()
            raise
        while True:
            try:
                while part := answer.read(1 << 20):
                    parts.append(part)
                return b''.join(parts), interrupted
            except KeyboardInterrupt:
                if interrupted:
                    # What it has started is on a leash.
                    process.kill()
                    raise
                interrupted = True
                process.stdin.close()


def child(left: int) -> None:
    """Make the runs that standard input names; called in the process of their own.

    Args:
        left: File descriptor that takes what comes of them.
    """
    os.set_inheritable(left, False)
    given: _Given = pickle.load(sys.stdin.buffer)
    config = given.plan.first
    log.set_up(
        given.directory / config.log_file,
        file_level=config.log_file_level,
        terminal_level=config.log_level,
        colors=colored(sys.stderr),
        begin=CLEAR if moves(sys.stderr) else '',
    )
    recorder = Recorder(given.directory, csv_file=config.csv_file)
    recorder.go_on(given.written)
    made = Made()
    line = ProgressLine(
        sys.stderr, runs=len(given.plan.runs), moving=moves(sys.stderr), begun_at=given.begun_at
    )
    failure: StreamBenchError | None = None
    interrupted = False
    try:
        make_here(given.plan, given.sessions, recorder, made, line, listen=_to_parent)
    except StreamBenchError as error:
        failure = error
    except CancelledError:
        interrupted = True
    answer = _Left(written=recorder.written, made=made, failure=failure, interrupted=interrupted)
    with open(left, 'wb') as file:
        pickle.dump(answer, file)


def _to_parent(interrupt: Callable[[], object]) -> None:
    """Let the end of standard input interrupt the runs: the parent was, or is gone."""
    loop, entrance = get_running_loop(), sys.stdin.fileno()

    def ended() -> None:
        loop.remove_reader(entrance)
        interrupt()

    loop.add_reader(entrance, ended)
