"""What is said to the person at the terminal, be it a pipe, a full disk, or nothing at all."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO

from streambench.errors import RunError


def prepare() -> None:
    """Make standard input, output and error usable, whatever the caller has done to them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # A closed one would become the first socket that is opened, and libuv aborts.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a letter shows another; that is no reason to fail.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='replace')


def moves(stream: TextIO) -> bool:
    """Whether a line of it can be written over: a terminal, and not one that only prints."""
    return stream.isatty() and os.environ.get('TERM') != 'dumb'


def colored(stream: TextIO) -> bool:
    """Whether to write in colours: in a terminal, unless $NO_COLOR or $FORCE_COLOR says otherwise."""
    if os.environ.get('NO_COLOR'):
        return False
    return bool(os.environ.get('FORCE_COLOR')) or moves(stream)


def width() -> int | None:
    """Return how wide standard output is, if that is a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str) -> None:
    """Print to standard output.

    Raises:
        BrokenPipeError: If its reader has seen enough.
        RunError: If it can't be written.
    """
    try:
        print(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _full(error) from error


def aside(text: str) -> None:
    """Print to standard error what standard output has no place for, if anybody listens."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def complain(sentence: str) -> None:
    """Print an error, if anybody listens."""
    with suppress(OSError):
        print(f'streambench: {" ".join(sentence.split())}', file=sys.stderr)


def flush() -> None:
    """Write what waits for standard output; a reader that has seen enough is no mistake.

    Raises:
        RunError: If it can't be written.
    """
    try:
        sys.stdout.flush()
    except ValueError:
        # A program that was profiled has closed it.
        pass
    except OSError as error:
        # Python must not try again, and complain, when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise _full(error) from error


def _full(error: OSError) -> RunError:
    return RunError(f'standard output can not be written ({error.strerror}): send it elsewhere.')
