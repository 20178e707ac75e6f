"""Runs somebody else's program in this process, as Python would have, and ends with it."""

from __future__ import annotations

import io
import pkgutil
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from streambench.loop_monitor.refusals import LoopMonitorError

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
TOLD = [getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name)]
ASK_AGAIN_S = 5.0


class _TerminatedError(SystemExit):
    """Somebody has asked the process to end; asyncio cancels its tasks on the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run.

    Attributes:
        target: Path of a script, or name of a module.
        module: Whether it is a module.
        arguments: Its command line.
    """

    target: str
    module: bool
    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is called on a command line."""
        return ' '.join([*(['-m'] if self.module else []), self.target, *self.arguments])

    def words(self) -> list[str]:
        """Return the words of the command line."""
        return [*(['-m'] if self.module else []), self.target, *self.arguments]

    def check(self) -> None:
        """Raise LoopMonitorError if there is no such script."""
        if not self.module and not Path(self.target).exists():
            raise LoopMonitorError(
                f'there is no script {self.target!r}: give the path of a Python file'
            )

    def execute(self) -> None:
        """Run it as `__main__`; raises what it raises."""
        sys.argv[:] = [self.target, *self.arguments]
        if not getattr(sys.flags, 'safe_path', False):
            place = str(Path.cwd()) if self.module else str(Path(self.target).resolve().parent)
            sys.path[:1] = [place]
        # It stays for threads that go on after it, and for the interpreter's end, as Python's own does.
        main = sys.modules['__main__'] = ModuleType('__main__')
        if self.module:
            runpy._run_module_as_main(self.target)  # type: ignore[attr-defined]
        elif pkgutil.get_importer(self.target) is None:
            path = str(Path(self.target).absolute())
            loader = SourceFileLoader('__main__', path)
            main.__dict__.update(__file__=path, __cached__=None, __loader__=loader)
            exec(_code_of(path), main.__dict__)
        else:
            # A directory or an archive with a `__main__.py`.
            sys.path.insert(0, self.target)
            runpy._run_module_as_main('__main__', alter_argv=False)  # type: ignore[attr-defined]


def _code_of(path: str) -> CodeType:
    with io.open_code(path) as file:
        compiled = pkgutil.read_code(file)
    if compiled is not None:
        code: CodeType = compiled
        return code
    with io.open_code(path) as file:
        return compile(file.read(), path, 'exec', dont_inherit=True)


def exit_code(error: SystemExit) -> int:
    """Return the exit code that Python would end with; a text is written to standard error."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _complain(error: BaseException) -> None:
    """Print a traceback that begins in the program."""
    trace = error.__traceback__
    own = {__file__, runpy.__file__}
    while trace is not None and (
        trace.tb_frame.f_code.co_filename in own
        or trace.tb_frame.f_code.co_filename.startswith('<frozen runpy')
    ):
        trace = trace.tb_next
    error.__traceback__ = trace
    if sys.excepthook is not sys.__excepthook__:
        try:
            sys.excepthook(type(error), error, trace)
            return
        except BaseException as failure:
            # As Python tells it: without this frame, and what was raised before by itself.
            failure.__context__ = None
            below = failure.__traceback__.tb_next if failure.__traceback__ else None
            print('Error in sys.excepthook:', file=sys.stderr)
            traceback.print_exception(failure.with_traceback(below))
            print('\nOriginal exception was:', file=sys.stderr)
    traceback.print_exception(error)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError(128 + number)


@contextmanager
def ends_when_told() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program like Ctrl-C does, unless it minds them itself."""
    ours = [number for number in TOLD if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _terminated)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is _terminated:
                signal.signal(number, signal.SIG_DFL)


class _Alarm:
    """Asks the program to end after a while: by SIGINT, as Ctrl-C would, then by SIGTERM."""

    def __init__(self, duration_s: float) -> None:
        self.rang = False
        self._over = threading.Event()
        self._duration_s = duration_s
        self._thread = threading.Thread(target=self._run, name='loop-monitor-duration', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._over.wait(self._duration_s):
            return
        self.rang = True
        ignored = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
        main = threading.main_thread().ident or 0
        # To the main thread: it must wake from a system call, not any thread of the process.
        signal.pthread_kill(main, signal.SIGTERM if ignored else signal.SIGINT)
        while not self._over.wait(ASK_AGAIN_S):
            signal.pthread_kill(main, signal.SIGTERM)

    def silence(self) -> None:
        """Don't ring any more."""
        self._over.set()
        self._thread.join()


@contextmanager
def _alarm(duration_s: float | None) -> Iterator[Callable[[], bool]]:
    if duration_s is None:
        yield lambda: False
        return
    alarm = _Alarm(duration_s)
    try:
        yield lambda: alarm.rang
    finally:
        alarm.silence()


def _wait_for_threads() -> None:
    """Wait for what keeps the process alive: the program may go on in other threads.

    Those of an executor are not waited for: the interpreter ends them when it ends itself.
    """
    executors = sys.modules.get('concurrent.futures.thread')
    here = threading.current_thread()
    while True:
        workers = tuple(getattr(executors, '_threads_queues', ()))
        threads = [
            thread
            for thread in threading.enumerate()
            if not (thread is here or thread.daemon or thread in workers)
        ]
        if not threads:
            return
        for thread in threads:
            thread.join()


def run(program: Program, *, duration_s: float | None) -> int:
    """Run a program to its end and return its exit code; 0 if it was ended by the duration.

    Args:
        program: What to run.
        duration_s: After how long it is asked to end, None for never.
    """
    code = 0
    with ends_when_told(), _alarm(duration_s) as rang:
        for step in (program.execute, _wait_for_threads):
            try:
                step()
            except KeyboardInterrupt:
                code = EXIT_INTERRUPTED
            except SystemExit as error:
                code = exit_code(error)
            except BaseException as error:
                _complain(error)
                code = 1
        if rang() and code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
            code = 0
    return code
