"""`--pid`: watch the event loop of a process that runs already, from Python 3.14 on.

The interpreter there is asked to run a small file. The file has a thread load the monitor, so that the
loop isn't held up by that, and lets the loop begin a task that watches it. Its report comes back by a
private directory.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streambench.loop_monitor import report as parts
from streambench.loop_monitor.refusals import LoopMonitorError
from streambench.loop_monitor.report import LoopReport

REPORT, REFUSAL = 'report', 'refusal'
LOOK_S = 0.05
END_S = 10.0
_ROOT = Path(__file__).resolve().parent.parent.parent

# It runs in the main thread, between any two steps of the program.
_BEGIN = """\
def _streambench_attach(place, root, settings):
    import sys, threading

    def refuse(text):
        with open(place + '/refusal.tmp', 'w', encoding='utf-8') as file:
            file.write(text)
        import os
        os.rename(place + '/refusal.tmp', place + '/refusal')

    asyncio = sys.modules.get('asyncio')
    loop = asyncio._get_running_loop() if asyncio else None

    def load():
        sys.path.append(root)
        try:
            from streambench.loop_monitor.attached import begin
        except BaseException as error:
            return refuse(f'the monitor can not be loaded there ({{error!r}})')
        finally:
            sys.path.remove(root)
        loop.call_soon_threadsafe(lambda: begin(place, **settings))

    if loop is None:
        refuse('no event loop runs in its main thread')
    else:
        threading.Thread(target=load, name='loop-monitor-attach', daemon=True).start()


_streambench_attach({place!r}, {root!r}, {settings!r})
del _streambench_attach
"""
_END = """\
def _streambench_end(place):
    import sys
    attached = sys.modules.get('streambench.loop_monitor.attached')
    if attached is not None:
        attached.end(place)


_streambench_end({place!r})
del _streambench_end
"""


def _remote() -> Callable[[int, str], None]:
    found: Callable[[int, str], None] | None = getattr(sys, 'remote_exec', None)
    if found is None:
        raise LoopMonitorError(
            f'--pid needs Python 3.14 or newer, here and in the process, and this is '
            f'{sys.version.split()[0]}: start the program by `streambench loop` instead'
        )
    return found


class _Report(pickle.Unpickler):
    """Makes nothing but the parts of a report: the other process may be somebody else's."""

    def find_class(self, module: str, name: str, /) -> Any:
        part = getattr(parts, name, None) if module == parts.__name__ else None
        if isinstance(part, type) and part.__module__ == module:
            return part
        raise pickle.UnpicklingError(f'{module}.{name} is no part of a report')


def read_report(file: Path) -> LoopReport:
    """Return the report that another process has left.

    Args:
        file: Where it lies.

    Raises:
        LoopMonitorError: If it is none.
    """
    try:
        found = _Report(io.BytesIO(file.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, TypeError, AttributeError) as error:
        raise LoopMonitorError(f'what the process left is no report ({error})') from error
    if not isinstance(found, LoopReport):
        raise LoopMonitorError(f'what the process left is no report but {type(found).__name__}')
    return found


class _Remote:
    """A process in which small files are run, and the directory through which it answers."""

    def __init__(self, pid: int, place: Path) -> None:
        self._pid = pid
        self._place = place
        self._execute = _remote()

    def run(self, name: str, text: str) -> None:
        file = self._place / name
        file.write_text(text, encoding='utf-8')
        try:
            owner = Path(f'/proc/{self._pid}').stat()
            if owner.st_uid != os.geteuid():
                # It must be able to read the file, and to write its answer.
                for entry in (self._place, file):
                    os.chown(entry, owner.st_uid, owner.st_gid)
            self._execute(self._pid, str(file))
        except (OSError, RuntimeError) as error:
            raise LoopMonitorError(
                f'process {self._pid} can not be looked into ({error}): it must be a live Python '
                f'{sys.version_info[0]}.{sys.version_info[1]} of yours that allows it'
            ) from error

    def answer(self, until: float | None) -> LoopReport | None:
        """Wait for the report, at most until an instant of time.monotonic; None if it didn't come."""
        while until is None or time.monotonic() < until:
            gone = not Path(f'/proc/{self._pid}').exists()
            if (refusal := self._place / REFUSAL).exists():
                raise LoopMonitorError(f'process {self._pid}: {refusal.read_text(encoding="utf-8")}')
            if (report := self._place / REPORT).exists():
                return read_report(report)
            if gone:
                raise LoopMonitorError(f'process {self._pid} has ended without a report')
            time.sleep(LOOK_S)
        return None


def watch(
    pid: int, *, level: str, exact: bool, duration_s: float | None, say: Callable[[str], None]
) -> LoopReport:
    """Return the report of the loop of another process's main thread, watched until we are told to end.

    Args:
        pid: Of the process.
        level: Level of the monitor.
        exact: Whether an asyncio loop's selector is replaced meanwhile.
        duration_s: For how long at most.
        say: Tells the user what is waited for.

    Raises:
        LoopMonitorError: If that process can't be watched, or ends without a report.
    """
    settings: dict[str, Any] = {
        'level': level,
        'exact': exact,
        'duration_s': duration_s,
        'watcher': os.getpid(),
    }
    with tempfile.TemporaryDirectory(prefix='streambench-attach-') as name:
        place = Path(name)
        remote = _Remote(pid, place)
        remote.run('begin.py', _BEGIN.format(place=name, root=str(_ROOT), settings=settings))
        length = 'until Ctrl-C' if duration_s is None else f'for {duration_s:g} s'
        say(f'watching process {pid} {length}')
        try:
            found = remote.answer(None)
        except (KeyboardInterrupt, SystemExit):
            remote.run('end.py', _END.format(place=name))
            found = remote.answer(time.monotonic() + END_S)
        if found is None:
            raise LoopMonitorError(
                f'process {pid} did not answer within {END_S:g} s: it runs no Python code'
            )
        return found
