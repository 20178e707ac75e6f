"""What is written goes by its reader: a terminal of some width, one that only prints, or a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from streambench.progress import CLEAR

WISHES = ('NO_COLOR', 'FORCE_COLOR', 'COLUMNS')
OWN = {name: value for name, value in os.environ.items() if name not in WISHES}
MODES = """
import sys
from streambench.cli import terminal
print(terminal.moves(sys.stderr), terminal.colored(sys.stderr), terminal.width())
"""


def in_a_terminal(program: list[str], *, columns: int, **environment: str) -> str:
    """Return what a program writes to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, *program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=OWN | {'TERM': 'xterm'} | environment,
    ):
        os.close(theirs)
        found = b''
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                # The other end is closed: Linux says so by an error.
                piece = b''
            if not piece:
                break
            found += piece
    os.close(ours)
    return found.decode().replace('\r\n', '\n')


@pytest.mark.parametrize(
    ('environment', 'said'),
    [
        ({}, 'True True 72'),
        ({'TERM': 'dumb'}, 'False False 72'),
        ({'NO_COLOR': '1'}, 'True False 72'),
        ({'NO_COLOR': '1', 'FORCE_COLOR': '1'}, 'True False 72'),
        ({'TERM': 'dumb', 'FORCE_COLOR': '1'}, 'False True 72'),
    ],
)
def test_a_terminal_and_its_wishes(environment: dict[str, str], said: str) -> None:
    """A line moves in a terminal that can; colours go by it, unless somebody has said otherwise."""
    assert in_a_terminal(['-c', MODES], columns=72, **environment) == f'{said}\n'


def test_an_event_does_not_stand_behind_the_moving_line(tmp_path: Path) -> None:
    """What a log tells a terminal removes the line that moves there, and begins its own."""
    words = '--executor simulated --stream memory --stream-method default --data-size-bytes 1kB'
    quick = f'--task-count 9 --task-sleep 0.01 --load 0.8 --log-level INFO --run-dir {tmp_path}'
    program = ['-m', 'streambench', 'run', *words.split(), *quick.split()]
    text = in_a_terminal(program, columns=100, NO_COLOR='1')
    events = re.findall(r'(.{4})[0-9-]{10}T[0-9:.]+Z \[info', text, flags=re.DOTALL)
    assert len(events) >= 4
    assert {*events} == {CLEAR}


def test_the_results_fit_a_narrow_terminal(tmp_path: Path) -> None:
    """At 80 letters the tables of a run stand upright, and each of their lines is one line."""
    words = '--executor simulated --stream memory --stream-method default --data-size-bytes 1kB 1MB'
    quick = f'--task-count 70 --task-sleep 0.002 --load 0.5 --run-dir {tmp_path}'
    program = ['-m', 'streambench', 'run', *words.split(), *quick.split()]
    text = in_a_terminal(program, columns=80)
    lines = text[text.index('\nmethod ') :].splitlines()
    tables = [
        line for line in lines if re.match(r'(method|sojourn p50|where it went,|task sleep) ', line)
    ]
    # Where a disturbed machine lets the sojourns grow, the second table has nothing to say.
    heads = [line.split()[0] for line in tables]
    assert heads in (['method', 'sojourn', 'where', 'task'], ['method', 'sojourn'])
    assert tables[0].split() == ['method', 'default', 'default']
    assert max(map(len, tables)) <= 80


def test_a_pipe_is_no_terminal() -> None:
    """Nothing moves in a pipe, has colours, or is folded; the last but one can be asked for."""
    for wish, said in (('', 'False False None\n'), ('1', 'False True None\n')):
        environment = OWN | {'FORCE_COLOR': wish}
        program = [sys.executable, '-c', MODES]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == said


def test_the_list_fits_its_terminal() -> None:
    """`streambench list` folds its words at 100 letters; what it says is all there."""
    program = ['-m', 'streambench', 'list']
    text = in_a_terminal(program, columns=100)
    assert max(map(len, text.splitlines())) <= 100
    whole = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=True)
    assert sorted(text.split()) == sorted(whole.stdout.split())
