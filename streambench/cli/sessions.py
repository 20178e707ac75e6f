"""Sessions that share an event loop: opened one after the other, and ended well by a signal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streambench.cli.signals import to_signals
from streambench.errors import ConfigError
from streambench.narrowing import narrow
from streambench.plan import Plan
from streambench.progress import ProgressLine
from streambench.recorder import Recorder
from streambench.run_spec import RunSpec
from streambench.session import Session, open_session
from streambench.verdict import ABORTED
from streambench.wording import workers_text

# Why a plan ends before its last run, beside a threshold with `abort:`.
NARROW = 'narrow'

Sessions = Sequence[Sequence[RunSpec]]
# Takes what interrupts the runs, and lets whoever may interrupt them know it, on the running loop.
Listen = Callable[[Callable[[], object]], None]


@dataclass(slots=True)
class Made:
    """What came of the runs so far, beside their rows.

    Attributes:
        heads: What each session was made with.
        errors: What ended runs early.
        ended: Why the plan ends before its last run, if it does.
    """

    heads: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    ended: str = ''


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops of a kind.

    Args:
        name: `asyncio` or `uvloop`.

    Raises:
        ConfigError: If its package is not installed.
    """
    if name == 'asyncio':
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        raise ConfigError(
            '--loop uvloop: the package is not installed here; `pip install uvloop`, or --loop asyncio.'
        ) from None
    return uvloop.new_event_loop


def _head(session: Session, runs: Sequence[RunSpec]) -> str:
    """Return what runs were measured with: servers, executor, division of the workers."""
    divisions = '; '.join(dict.fromkeys(map(workers_text, runs)))
    config = session.config
    executor = f'{config.executor} {config.executor_plugin.detail}'.strip()
    servers = [
        f'{server} ×{number}' if number > 1 else server
        for server, number in Counter(session.servers).items()
    ]
    return ' · '.join([' + '.join(servers), f'{executor}: {divisions}'])


def make_here(
    plan: Plan,
    sessions: Sessions,
    recorder: Recorder,
    made: Made,
    line: ProgressLine,
    *,
    listen: Listen = to_signals,
) -> None:
    """Make the runs of sessions that share a kind of loop, in this process.

    Args:
        plan: The plan that they belong to.
        sessions: Their runs, session by session.
        recorder: Takes the results.
        made: Takes what else comes of them.
        line: Says what is being done.
        listen: Lets others interrupt them.

    Raises:
        StreamBenchError: If a session can't be opened or go on.
        CancelledError: If they were interrupted.
    """
    factory = loop_factory(sessions[0][0].config.loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_make(plan, sessions, recorder, made, line, listen))


async def _make(
    plan: Plan,
    sessions: Sessions,
    recorder: Recorder,
    made: Made,
    line: ProgressLine,
    listen: Listen,
) -> None:
    share, points = plan.first.until_narrow, len({run.point for run in plan.runs})
    task = asyncio.current_task()
    assert task is not None
    listen(task.cancel)
    try:
        async with recorder:
            for runs in sessions:
                async with open_session(
                    runs[0].config, slots=runs[0].opened_slots, recorder=recorder, report=line
                ) as session:
                    made.heads.append(_head(session, runs))
                    for spec in runs:
                        result = await session.run(spec)
                        if result.error is not None:
                            made.errors.append(result.error)
                        if result.aborted:
                            made.ended = ABORTED
                            return
                        if share is not None and narrow(recorder.rows, share, points=points):
                            made.ended = NARROW
                            return
    finally:
        line.clear()
