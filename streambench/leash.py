"""A process that runs a command and ends it when a given process is gone.

Servers and Parsl's helpers would outlive a client that was killed: by minutes, or for ever. They are
started through this program: `python leash.py PID [--remove DIR] [--output FILE] [--same-group]
[--scratch] -- COMMAND...`. It leaves its caller's process group, which a terminal's Ctrl-C reaches,
unless told to stay in it. It runs as a file, with the standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

PR_SET_PDEATHSIG = 1
GRACE_S = 3.0
POLL_S = 0.5
# The path of a socket has 107 bytes: this, `/sb-########`, and multiprocessing's
# `/pymp-########/listener-########`.
LONGEST_TEMPORARY = 60
SCRATCH = 'sb-'
LOCK = 'streambench.lock'


def command(
    *words: str,
    remove: str | None = None,
    output: str | None = None,
    same_group: bool = False,
    scratch: bool = False,
) -> list[str]:
    """Return the command line that runs `words` on a leash held by this process.

    Args:
        words: The command.
        remove: Directory to remove when the holder is gone or ends the command by SIGTERM.
        output: File that takes what the command prints; else it prints where this process does.
        same_group: Whether to stay in the caller's process group.
        scratch: Whether temporary files of the command go to a directory that is removed after it.
    """
    return [
        sys.executable,
        '-I',
        '-S',
        __file__,
        str(os.getpid()),
        *(['--remove', remove] if remove else []),
        *(['--output', output] if output else []),
        *(['--same-group'] if same_group else []),
        *(['--scratch'] if scratch else []),
        '--',
        *words,
    ]


def _die_with_leash() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _gone(holder: int, watch: int | None) -> bool:
    if watch is not None:
        return bool(select.select([watch], [], [], 0)[0])
    try:
        os.kill(holder, 0)
    except ProcessLookupError:
        return True
    return False


def _make_scratch() -> str | None:
    """Make a directory for what a command that is killed would leave behind, and name it to it."""
    import tempfile

    root = tempfile.gettempdir()
    if len(os.fsencode(root)) > LONGEST_TEMPORARY:
        return None
    _remove_left(root)
    os.environ['TMPDIR'] = path = tempfile.mkdtemp(prefix=SCRATCH)
    lock = os.open(f'{path}/new', os.O_RDONLY | os.O_CREAT, 0o600)
    # Held until this process is gone, however it goes; nobody sees the file before.
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(f'{path}/new', f'{path}/{LOCK}')  # noqa: PTH104
    return path


def _remove_left(root: str) -> None:
    """Remove what leashes that were killed have left: directories whose lock nobody holds."""
    for name in os.listdir(root):  # noqa: PTH208
        if not name.startswith(SCRATCH):
            continue
        path = f'{root}/{name}'
        try:
            lock = os.open(f'{path}/{LOCK}', os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End everything in this process group, the leash last."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def main(arguments: Sequence[str]) -> int:
    """Run the command until it ends or the holder is gone."""
    split = list(arguments).index('--')
    holder, *rest = arguments[:split]
    settings = dict(itertools.pairwise(rest))
    directory, output = settings.get('--remove'), settings.get('--output')
    if '--same-group' not in rest and os.getpgid(0) != os.getpid():
        os.setsid()
    if output:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(file, stream)
    try:
        watch: int | None = os.pidfd_open(int(holder))
    except (AttributeError, OSError):
        watch = None
    scratch = _make_scratch() if '--scratch' in rest else None
    told: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, frame: FrameType | None) -> None:
        told.append(number)
        if child is not None:
            child.send_signal(number)

    # From before there is a child: who ends the leash takes its end for that of the command.
    signal.signal(signal.SIGTERM, forward)
    child = subprocess.Popen(arguments[split + 1 :], preexec_fn=_die_with_leash)
    if told:
        child.send_signal(told[0])
    # The command doesn't inherit this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The child's end wakes the wait at once; without it, a short poll has to do.
    ended = os.pidfd_open(child.pid) if watch is not None else None
    while child.poll() is None:
        if _gone(int(holder), watch):
            _end_group(child)
            for path in filter(None, (directory, scratch)):
                shutil.rmtree(path, ignore_errors=True)
            os.killpg(0, signal.SIGKILL)
        if watch is None or ended is None:
            time.sleep(POLL_S)
        else:
            select.select([watch, ended], [], [], None)
    if directory and told:
        # The holder may be killed before it comes to this itself.
        shutil.rmtree(directory, ignore_errors=True)
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
