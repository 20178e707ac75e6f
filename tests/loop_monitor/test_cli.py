"""`streambench loop` on programs that know nothing of it, each in a process of its own."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from streambench.loop_monitor import command, limits
from streambench.loop_monitor.figures import METRICS
from streambench.loop_monitor.loop_comparison import ARMS, FIGURES, difference
from streambench.loop_monitor.loop_comparison import text as comparison_text
from streambench.loop_monitor.program import Program
from streambench.loop_monitor.refusals import LoopMonitorError
from tests.living import processes, until

ROOT = Path(__file__).parent.parent.parent
END_S = 60.0

BLOCKING = """
import asyncio, sys, time

def load_settings():
    time.sleep(0.08)

async def handle(number):
    await asyncio.sleep(0.12 * number)
    load_settings()

async def main():
    time.sleep(0.1)
    await asyncio.gather(handle(1), handle(2), handle(3))
    print('said by the program', *sys.argv[1:])

{run}
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""
WAYS = {
    'asyncio.run': ('asyncio', 'asyncio.run(main())'),
    'Runner': ('asyncio', 'with asyncio.Runner() as runner: runner.run(main())'),
    'new_event_loop': (
        'asyncio',
        'loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()',
    ),
    'loop factory': (
        'uvloop',
        'import uvloop\nwith asyncio.Runner(loop_factory=uvloop.new_event_loop) as r: r.run(main())',
    ),
    'uvloop.run': ('uvloop', 'import uvloop; uvloop.run(main())'),
    'uvloop.install': (
        'uvloop',
        'import warnings; warnings.simplefilter("ignore")\n'
        'import uvloop; uvloop.install(); asyncio.run(main())',
    ),
    'policy, as a server sets it': (
        'uvloop',
        'import uvloop; asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n'
        'loop = asyncio.new_event_loop(); loop.run_until_complete(main())',
    ),
}

WAITING = """
import asyncio, sys
if sys.argv[1:] == ['uvloop']:
    import uvloop
    run = uvloop.run
else:
    run = asyncio.run

async def main():
    print('ready', flush=True)
    try:
        await asyncio.sleep(3600)
    finally:
        print('cleaned up', flush=True)

run(main())
"""

ENDLESS = 'asyncio.run(asyncio.sleep(60))\n'

SEVERAL = """
import asyncio, os, sys, threading, time

async def main():
    time.sleep(0.03)
    await asyncio.sleep(0.03)

asyncio.run(main())
asyncio.run(main())
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
if os.fork() == 0:
    asyncio.run(main())
    print('the child was here')
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
pool = __import__('concurrent.futures').futures.ThreadPoolExecutor()
pool.submit(time.sleep, 0).result()
threading.Thread(target=lambda: asyncio.run(main())).start()

def forever(block):
    other = asyncio.new_event_loop()
    other.call_soon(block)
    other.run_forever()

for block in (lambda: None, threading.Event().wait):
    threading.Thread(target=forever, args=(block,), daemon=True).start()
time.sleep(0.05)
"""


def profile(words: Sequence[str], *, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'streambench', 'loop', *words],
        cwd=place,
        env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
        timeout=END_S,
    )


def write(place: Path, text: str) -> Path:
    file = place / 'program.py'
    file.write_text(text, encoding='utf-8')
    return file


@pytest.mark.parametrize('way', WAYS)
def test_the_culprit_is_found_however_the_loop_is_run(way: str, tmp_path: Path) -> None:
    """The program's output and exit code are its own; what its first step does is seen, too."""
    kind, run = WAYS[way]
    write(tmp_path, BLOCKING.replace('{run}', run))
    done = profile(['--json', 'found.json', 'program.py', '3', '--level', 'x'], place=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout == 'said by the program 3 --level x\n'
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['program'] == ['program.py', '3', '--level', 'x']
    assert found['exit_code'] == 3
    assert [loop['loop'] for loop in found['loops']] == [kind]
    assert found['loops'][0]['exact'] is False
    first, *others, nobody = found['culprits']
    assert first['leaf']['function'] == 'load_settings'
    assert first['user']['file'].endswith('program.py')
    # Of the three one may have been held up by the machine on top of it.
    assert 2 <= first['count'] <= 3
    assert first['cause'] == 'callback'
    assert 0.14 <= first['total_s'] <= 0.5
    assert any(other['leaf'] and other['leaf']['function'] == 'main' for other in others)
    assert nobody['cause'] == 'unattributed'
    assert 'program.py:5 load_settings' in done.stderr
    assert re.search(r'[2-4] tasks blocked the loop ≥ 20 ms: .*handle', done.stderr)
    last = [line for line in done.stderr.splitlines() if 'unattributed' in line]
    assert len(last) == 1


def test_several_loops_threads_and_a_forked_child(tmp_path: Path) -> None:
    """One report about all of them, and none by the child."""
    write(tmp_path, SEVERAL)
    done = profile(['--json', 'found.json', '-m', 'program'], place=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'the child was here\n'
    assert done.stderr.count('verdict') == 1
    assert '5 loops (asyncio)' in done.stderr
    assert done.stderr.count('a loop in another thread is held up') == 1
    found = json.loads((tmp_path / 'found.json').read_text())
    assert len(found['loops']) == 5
    assert found['culprits'][0]['count'] >= 3


@pytest.mark.parametrize('loop', ['asyncio', 'uvloop'])
@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_well(loop: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    write(tmp_path, WAITING)
    with subprocess.Popen(
        [sys.executable, '-m', 'streambench', 'loop', 'program.py', loop],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell without job control, or nohup, lets what it runs ignore it.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == 'ready\n'
        time.sleep(0.1)
        child.send_signal(number)
        try:
            out, errors = child.communicate(timeout=END_S)
        finally:
            child.kill()
    assert (child.returncode, out) == (code, 'cleaned up\n'), errors
    assert 'verdict' in errors
    assert 'Traceback' not in errors


def test_a_comparison_that_is_ended_takes_its_program_along(tmp_path: Path) -> None:
    """Whatever runs at that moment would go on for ever, and its files stay."""
    ready = tmp_path / 'ready'
    place = tmp_path / 'temporary'
    place.mkdir()
    write(tmp_path, f'import asyncio, pathlib\npathlib.Path({str(ready)!r}).touch()\n' + ENDLESS)
    with subprocess.Popen(
        [sys.executable, '-m', 'streambench', 'loop', '--compare-loops', 'program.py'],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'TMPDIR': str(place), 'MARK': str(tmp_path)},
        stderr=subprocess.PIPE,
    ) as comparing:
        try:
            assert until(ready.exists, within_s=END_S)
            comparing.terminate()
            comparing.communicate(timeout=END_S)
        finally:
            comparing.kill()
    assert comparing.returncode == 143
    assert processes(f'MARK={tmp_path}') == {}
    assert list(place.iterdir()) == []


def test_duration_ends_it_with_success(tmp_path: Path) -> None:
    write(tmp_path, WAITING)
    done = profile(['--duration', '0.4', '--level', 'fine', 'program.py'], place=tmp_path)
    assert (done.returncode, done.stdout) == (0, 'ready\ncleaned up\n'), done.stderr
    assert 'level fine' in done.stderr


def test_thresholds_and_exact(tmp_path: Path) -> None:
    write(tmp_path, BLOCKING.replace('{run}', 'asyncio.run(main())'))
    words = ['--exact', '--threshold', 'loop_lag_max<5ms', '--threshold', 'loop_stalls <= 100']
    done = profile([*words, 'program.py'], place=tmp_path)
    assert done.returncode == 99
    assert 'fail: loop_lag_max < 5ms · ' in done.stderr
    assert 'pass: loop_stalls <= 100 · ' in done.stderr
    assert re.search(r'busy +\d+ % \(CPU', done.stderr)
    # What the program itself says comes first.
    assert profile([*words, 'program.py', '7'], place=tmp_path).returncode == 7


@pytest.mark.parametrize('form', ['json', 'csv', 'md'])
def test_the_table_has_other_forms(form: str, tmp_path: Path) -> None:
    """For programs all culprits with raw values, for a page what a person reads."""
    write(tmp_path, BLOCKING.replace('{run}', 'asyncio.run(main())'))
    done = profile(['--format', form, '--threshold', 'loop_stalls > 0', 'program.py'], place=tmp_path)
    assert done.returncode == 0, done.stderr
    if form == 'md':
        head, ruler, first, *_ = done.stderr.splitlines()
        assert head.startswith('| total ms | count | max ms |')
        assert ruler.count('---') == head.count(' | ') + 1
        assert 'program.py' in first
        assert '- pass: loop_stalls > 0 · ' in done.stderr
        return
    if form == 'json':
        found = json.loads(done.stderr)
        rows = found['rows']
        assert found['notes'][0].startswith('held up for')
        assert 'pass: loop_stalls > 0' in found['notes'][-1]
    else:
        rows = list(csv.DictReader(done.stderr.splitlines()))
    assert 'program.py' in rows[0]['in_your_code']
    assert rows[-1]['cause'] == 'unattributed'
    assert sum(float(row['share']) for row in rows) == pytest.approx(1)


def test_an_error_of_the_program_is_its_own(tmp_path: Path) -> None:
    write(tmp_path, 'import asyncio\nasync def main(): raise ValueError("oops")\nasyncio.run(main())\n')
    done = profile(['program.py'], place=tmp_path)
    assert done.returncode == 1
    trace = done.stderr.partition('──')[0].splitlines()
    assert trace[:1] == ['Traceback (most recent call last):']
    assert 'program.py", line 3' in trace[1]
    assert trace[-2:] == ['ValueError: oops', '']
    assert 'nothing was measured' in done.stderr


ENDING = """
import asyncio, atexit, pickle, sys, threading, time

class Own:
    pass

def same():
    return type(pickle.loads(pickle.dumps(Own()))) is Own

def later():
    time.sleep(0.2)
    print('later', same())
    sys.stdout.close()

def hook(*error):
    raise RuntimeError('of the hook')

atexit.register(lambda: print('at the end', same(), file=sys.stderr))
threading.Thread(target=later).start()
sys.excepthook = hook
asyncio.run(asyncio.sleep(0.05))
raise ValueError('of the program')
"""


@pytest.mark.parametrize('way', ['script', 'module'])
def test_a_program_ends_as_python_lets_it_end(way: str, tmp_path: Path) -> None:
    """Its threads and what it left for the end find its classes; its hook may fail."""
    write(tmp_path, ENDING)
    done = profile(['program.py'] if way == 'script' else ['-m', 'program'], place=tmp_path)
    assert (done.returncode, done.stdout) == (1, 'later True\n'), done.stderr
    before, _, _ = done.stderr.partition('── streambench loop')
    assert before.startswith('Error in sys.excepthook:')
    assert before.index('RuntimeError: of the hook') < before.index('ValueError: of the program')
    assert 'streambench/cli' not in done.stderr
    assert done.stderr.endswith('at the end True\n')


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([], 'there is no program to profile'),
        (['nowhere.py'], "there is no script 'nowhere.py'"),
        (['-m'], '-m needs the name of a module'),
        (['--level', 'best', 'program.py'], "invalid choice: 'best'"),
        (['--duration', '-1', 'program.py'], 'must be seconds above 0'),
        (['--json', 'nowhere/x.json', 'program.py'], 'there is no such directory'),
        (['--threshold', 'loop_lag_p99 < 5', 'program.py'], 'loop_lag_p99 needs a unit'),
        (['--compare-loops', '--exact', 'program.py'], '--exact would patch one loop only'),
        (['--pairs', '3', 'program.py'], 'give both'),
        (['--unknown', 'program.py'], 'unrecognized arguments: --unknown'),
        (['--lvel', 'fine', 'program.py'], 'there is no flag --lvel; did you mean --level?'),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path, 'raise AssertionError("the program must not run")')
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == 2
    errors = capsys.readouterr().err
    assert errors.startswith('streambench: ')
    assert said in errors
    assert errors.count('\n') == 1


def test_the_program_keeps_its_own_words() -> None:
    own, program = command.split(
        ['--level', 'fine', '--duration=3', '-m', 'http.server', '-m', '--level', 'x'], command.parser()
    )
    assert own == ['--level', 'fine', '--duration=3']
    assert program is not None
    assert (program.target, program.module) == ('http.server', True)
    assert program.arguments == ('-m', '--level', 'x')
    assert command.split(['--exact', '--', '-odd.py', '--'], command.parser())[1] is not None


def test_thresholds_speak_as_those_of_the_benchmark_do() -> None:
    """Same grammar, same words: what one refuses the other refuses, in one sentence but for names."""
    from streambench import thresholds
    from streambench.errors import ConfigError

    units = {'s': 's', '': '', 'count': thresholds.COUNT}
    known = {
        name: thresholds.Metric(name=name, column=name, unit=units[unit])
        for name, unit in METRICS.items()
    }
    good = ['loop_lag_p99<5ms', ' loop_stalls == 0 ', 'loop_stall_time_fraction <= 1.5 %', 'gc_time>0']
    for text in good:
        ours, theirs = limits.parse(text), thresholds.parse(text, known)
        assert (ours.text, ours.limit, ours.scale) == (theirs.text, theirs.limit, theirs.scale)
        for value in (0.0, 0.004999, 0.005, 1.0):
            figures = {ours.metric: value}
            assert ours.evaluate(figures).text == theirs.evaluate(figures).text
    assert ours.evaluate({}).text == theirs.evaluate({}).text
    bad = [
        'loop_lag_p99 < 5',
        'loop_lag_p99 < 5kB',
        'loop_stalls < 5ms',
        'loop_lag_p98 < 5ms',
        'loop_lag_p99 < 1e999ms',
    ]
    for text in bad:
        with pytest.raises(LoopMonitorError) as refused:
            limits.parse(text)
        with pytest.raises(ConfigError) as refused_too:
            thresholds.parse(text, known)
        assert str(refused.value) == str(refused_too.value)
    with pytest.raises(LoopMonitorError, match="can't be read"):
        limits.parse('loop_lag_p99 = 5ms')


def test_compare_loops_beside_a_control(tmp_path: Path) -> None:
    """A program of a fixed length: the loops run it alike, and so is it told."""
    write(tmp_path, 'import asyncio\nasyncio.run(asyncio.sleep(0.15))\n')
    done = profile(['--compare-loops', '--pairs', '3', 'program.py'], place=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('run time')]
    cells = re.split(r' {2,}', line)
    assert cells[0] == 'run time, s'
    assert 0.7 <= float(cells[3]) <= 1.4
    assert cells[-1].startswith(('no difference', 'uvloop has'))
    arms = [dict.fromkeys(ARMS, dict.fromkeys((key for _, key, _, _ in FIGURES), 2e-3))] * 3
    shown = comparison_text(
        Program(target='x.py', module=False, arguments=()), 'lite', arms, form='json'
    )
    lag = json.loads(shown)['rows'][2]
    assert (lag['name'], lag['asyncio'], lag['ratio']) == ('lag p50, ms', 2.0, 1.0)
    assert lag['outcome'] == 'no difference shown'
    runner = 'asyncio.Runner(loop_factory=uvloop.Loop)'
    write(tmp_path, f'import asyncio, uvloop\nwith {runner} as r: r.run(asyncio.sleep(0.1))\n')
    done = profile(['--compare-loops', '--pairs', '3', 'program.py'], place=tmp_path)
    assert done.returncode == 2
    assert 'ran uvloop where asyncio was asked for' in done.stderr


def rounds(values: Sequence[tuple[float, float, float]]) -> list[dict[str, float]]:
    return [dict(zip(ARMS, each, strict=True)) for each in values]


@pytest.mark.parametrize(
    ('values', 'outcome'),
    [
        ([(1.0, 1.01, 0.5), (1.0, 0.98, 0.52), (1.0, 1.0, 0.51)], 'uvloop has less'),
        ([(1.0, 1.01, 1.5), (1.0, 0.98, 1.52), (1.0, 1.0, 1.51)], 'uvloop has more'),
        # The control differs from itself by as much.
        ([(1.0, 0.6, 0.7), (1.0, 1.0, 0.7), (1.0, 1.0, 0.8)], 'no difference shown'),
        # One round says otherwise.
        ([(1.0, 1.01, 0.5), (1.0, 0.98, 1.02), (1.0, 1.0, 0.51)], 'no difference shown'),
        ([(0.0, 0.0, 0.0), (1.0, 1.0, 0.5), (1.0, 1.0, 0.5)], 'too small to compare'),
    ],
)
def test_a_difference_must_exceed_the_control(
    values: list[tuple[float, float, float]], outcome: str
) -> None:
    assert difference('x', rounds(values), 1e-6).outcome == outcome


USER = """
import asyncio, time
from streambench.loop_monitor import LoopMonitor

async def main():
    async with LoopMonitor() as monitor:
        await asyncio.sleep(0.03)
        time.sleep(0.05)
        await asyncio.sleep(0.03)
    return monitor.report()

print(asyncio.run(main()).stalls[0].stacks[0].frames[-1].function)
"""


def test_it_works_where_nothing_else_is_installed(tmp_path: Path) -> None:
    """An empty environment, `pip install --no-deps`: the command and the class are there."""
    place = tmp_path / 'environment'
    venv.create(place, with_pip=True)
    python = place / 'bin' / 'python'
    installing = subprocess.run(
        [python, '-m', 'pip', 'install', '-q', '--no-deps', '--disable-pip-version-check', ROOT],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if 'No matching distribution found for hatchling' in installing.stderr:
        pytest.skip('what builds the package can not be fetched here')
    assert installing.returncode == 0, installing.stderr
    installed = subprocess.run(
        [python, '-m', 'pip', 'list', '--format=freeze'], check=True, capture_output=True, text=True
    )
    names = {line.partition('==')[0] for line in installed.stdout.split()}
    assert names <= {'streambench', 'pip', 'setuptools'}
    write(tmp_path, BLOCKING.replace('{run}', 'asyncio.run(main())'))
    done = subprocess.run(
        [place / 'bin' / 'streambench', 'loop', 'program.py'],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        timeout=END_S,
    )
    assert (done.returncode, done.stdout) == (0, 'said by the program\n'), done.stderr
    assert 'program.py:5 load_settings' in done.stderr
    (tmp_path / 'user.py').write_text(USER, encoding='utf-8')
    used = subprocess.run(
        [python, 'user.py'], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=END_S
    )
    assert (used.returncode, used.stdout) == (0, 'main\n'), used.stderr
