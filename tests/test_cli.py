"""The command line: help, list, dry run, spellings, files of options and passwords."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from streambench import __version__, registry
from streambench.cli import main
from streambench.cli.arguments import COMMANDS, parse
from streambench.cli.run import plan_of
from streambench.errors import EXIT_OK, BrokerError, ConfigError, StallError, StreamBenchError
from streambench.plan import Plan
from streambench.settings import known_options

NAMED = [
    '--executor',
    '--parsl-executor',
    '--max-workers',
    '--parsl-max-workers',
    '--thread-pool-max-workers',
    '--process-pool-max-workers',
    '--stream-method',
    '--data-size-bytes',
    '--task-count',
    '--task-sleep',
    '--repeat',
    '--rate',
    '--load',
    '--max-outstanding',
    '--generator',
    '--queue-size',
    '--queue-bytes',
    '--max-in-flight',
    '--verify',
    '--ps-connector',
    '--ps-host',
    '--ps-port',
    '--ps-file-dir',
    '--stream',
    '--stream-servers',
    '--stream-topic',
    '--stream-option',
    '--stall-timeout',
    '--seed',
    '--loop',
    '--run-dir',
    '--csv-file',
    '--log-file',
    '--log-level',
    '--log-file-level',
    '--config',
    '--dry-run',
    '--version',
]

DOCUMENTED = """
    --executor parsl --parsl-executor htex-local --parsl-max-workers 4 --stream-method default proxy
    --data-size-bytes 100000 1000000 10000000 --task-count 16 --task-sleep 1.0
    --ps-connector redis --ps-host localhost --ps-port 6379 --stream redis
    --stream-servers localhost:6379
"""


def plan(line: str, **environment: str) -> Plan:
    """Return the plan of a command line after `run`."""
    return plan_of(parse(['run', *line.split()]), environment)


def test_help_is_grouped_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag of the issue and every option is in the help under a heading; no secret is a flag."""
    assert main(['run', '--help']) == EXIT_OK
    text = capsys.readouterr().out
    flags = set(re.findall(r'--[a-z-]+', text))
    assert set(NAMED) <= flags
    for entry, _ in known_options().values():
        assert (entry.flag in flags) is not entry.secret
    headings = re.findall(r'^([a-z][a-z() ]*):', text, flags=re.MULTILINE)
    assert [*headings] == [
        *(
            'usage',
            'options',
            'stream',
            'executor',
            'broker',
            'connector (method proxy)',
            'run',
            'output',
        )
    ]
    for names in ('thread, process, parsl', 'redis, kafka, memory', 'redis, file, local'):
        assert names in ' '.join(text.split())
    assert '$STREAMBENCH_STREAM_PASSWORD' in text


def test_help_fits_a_terminal() -> None:
    """No line is longer than 80 letters, options with several spellings included."""
    for words in ([], *([command] for command in COMMANDS)):
        program = [sys.executable, '-m', 'streambench', *words, '--help']
        narrow = os.environ | {'COLUMNS': '80'}
        text = subprocess.run(program, env=narrow, capture_output=True, text=True, check=True).stdout
        assert [line for line in text.splitlines() if len(line) > 80] == []
        assert words != ['run'] or '--dask-workers INT [INT ...]' in ' '.join(text.split())


def test_version_and_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is told before and after the command; without a command there is help."""
    for words in (['--version'], ['run', '--version']):
        assert main(words) == EXIT_OK
        assert capsys.readouterr().out == f'streambench {__version__}\n'
    assert main([]) == EXIT_OK
    assert 'list' in capsys.readouterr().out


def test_list_shows_every_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    """Each registry line is shown with its state here."""
    assert main(['list']) == EXIT_OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for kind in registry.PLUGINS:
        for name in registry.names(kind):
            (line,) = [line for line in lines if line[:2] == [kind, name]]
            assert line[2] in ('ready', 'needs')


def test_list_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no Redis server is found the embedded one is said to be missing, with the remedy."""
    monkeypatch.setenv('STREAMBENCH_REDIS_SERVER', '/nothing')
    assert main(['list']) == EXIT_OK
    assert '$STREAMBENCH_REDIS_SERVER' in capsys.readouterr().out


@pytest.mark.parametrize(
    'module', [['-m', 'streambench'], ['-c', 'from streambench.cli import main; main()']]
)
def test_it_is_a_module_and_a_program(module: list[str]) -> None:
    """`python -m streambench` is the same command."""
    done = subprocess.run(
        [sys.executable, *module, '--version'], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f'streambench {__version__}\n'


def test_help_imports_no_client() -> None:
    """Help needs no broker's, store's or executor's client, so it is fast."""
    code = (
        'import sys; from streambench.cli import main; main(["run", "--help"]); '
        'print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stderr.split())
    assert not loaded & {'redis', 'aiokafka', 'proxystore', 'parsl', 'pyarrow', 'structlog', 'uvloop'}


def test_the_documented_command_works_word_for_word() -> None:
    """psbench's command is six runs with four workers at the given servers."""
    found = plan(DOCUMENTED)
    assert len(found.runs) == 6
    assert found.first.workers == 4
    assert found.values['ps_port'] == 6379


@pytest.mark.parametrize(
    'flag',
    ['--max-workers', '--parsl-max-workers', '--thread-pool-max-workers', '--process-pool-max-workers'],
)
def test_workers_have_four_spellings(flag: str) -> None:
    """Each means the same; twice the same number is no contradiction."""
    assert plan(f'{flag} 7').first.workers == 7
    assert plan(f'{flag} 7 --max-workers 7').first.workers == 7
    assert {run.config.workers for run in plan(f'{flag} 2 3').runs} == {2, 3}


def test_assignments_may_be_given_again() -> None:
    """`--stream-option` collects, in one flag or in several."""
    found = plan('--stream-option db=1 client_name=x --stream-option socket_timeout=3')
    assert found.values['stream_option'] == (
        ('db', '1'),
        ('client_name', 'x'),
        ('socket_timeout', '3'),
    )


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    """A flag replaces a value, an axis, a rate by a load, and a plugin together with its options."""
    path = tmp_path / 'options.toml'
    path.write_text(
        'workers = 3\nexecutor = "parsl"\nparsl_prefetch = 2\nrate = 5\nstream_servers = "h:1"\n'
        '[sweep]\ndata_size_bytes = [1, 2, 3]\n'
    )
    file = f'--config {path}'
    assert len(plan(file).runs) == 6
    assert plan(file).first.workers == 3
    assert plan(f'{file} --max-workers 5').first.workers == 5
    assert {run.config.data_size_bytes for run in plan(f'{file} --data-size-bytes 9').runs} == {9}
    assert plan(f'{file} --load 0.5').first.rate is None
    assert 'parsl_prefetch' not in plan(f'{file} --executor thread').values
    assert 'stream_servers' not in plan(f'{file} --stream memory --executor thread').values
    assert plan(f'{file} --stream kafka').values['stream_servers'] == 'h:1'
    with pytest.raises(ConfigError, match='--parsl-prefetch'):
        plan(f'{file} --executor thread --parsl-prefetch 1')


def test_passwords_come_from_the_environment() -> None:
    """They reach the plugins and are in nothing that is shown or recorded."""
    given = {'STREAMBENCH_STREAM_PASSWORD': 'geheim', 'STREAMBENCH_PS_PASSWORD': 'geheim'}
    found = plan('--stream-servers h:1 --ps-host h --ps-port 1', **given)
    assert getattr(found.first.broker_plugin, 'stream_password', None) == 'geheim'
    assert getattr(found.first.connector_plugin, 'ps_password', None) == 'geheim'
    assert 'geheim' not in repr(found)


def test_passwords_reach_a_swept_broker(tmp_path: Path) -> None:
    """Each broker of an axis that takes the password has it."""
    path = tmp_path / 'options.toml'
    path.write_text('stream_servers = "h:1"\n[sweep]\nstream = ["redis", "memory", "kafka"]\n')
    found = plan(
        f'--config {path} --stream-method default --executor thread',
        STREAMBENCH_STREAM_PASSWORD='geheim',
    )
    passwords = {
        run.config.stream: getattr(run.config.broker_plugin, 'stream_password', None)
        for run in found.runs
    }
    assert passwords == {'redis': 'geheim', 'memory': None, 'kafka': 'geheim'}


def test_a_dry_run_shows_the_plan_and_makes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line per run, with what varies, rates and expected time."""
    monkeypatch.chdir(tmp_path)
    words = (
        '--stream-method default --data-size-bytes 1kB --task-sleep 1 --load 0.5 --loop uvloop asyncio'
    )
    assert main(['run', '--dry-run', *words.split()]) == EXIT_OK
    text = capsys.readouterr().out
    assert '2 runs in 2 sessions' in text
    assert 'embedded redis → parsl htex-local, 4 workers = 1 generator + 3 compute' in text
    lines = [line.split() for line in text.splitlines() if re.match(r'[0-9]+ +default', line)]
    assert [line[2] for line in lines] == ['uvloop', 'asyncio']
    assert {tuple(line[3:8]) for line in lines} == {('1', 'kB', '4', '64', '1')}
    assert {line[9] for line in lines} == {'1.5'}
    assert 'expected time: about' in text
    assert list(tmp_path.iterdir()) == []


def test_results_have_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output of a run is one JSON document, or a CSV file; what has no place there is told."""
    words = (
        '--executor thread --stream memory --stream-method default --data-size-bytes 100 '
        '--task-count 8 --task-sleep 0.01 --load 0.5 1'
    )
    for form in ('json', 'csv'):
        given = ['run', *words.split(), '--run-dir', str(tmp_path), '--format', form]
        assert main(given) == EXIT_OK
        done = capsys.readouterr()
        if form == 'json':
            found = json.loads(done.out)
            rows = found['rows']
            assert any('1 generator + 3 compute' in note for note in found['notes'])
        else:
            rows = list(csv.DictReader(done.out.splitlines()))
            assert '1 generator + 3 compute' in done.err
        assert {float(row['load']) for row in rows} == {0.5, 1.0}
        assert all(float(row['makespan_s']) > 0 for row in rows)


def test_two_loops_are_measured_in_one_plan(tmp_path: Path) -> None:
    """`--loop uvloop asyncio` makes the runs of each in a loop of that kind, into one directory."""
    words = (
        '--executor thread --stream memory --stream-method default --data-size-bytes 100 '
        '--task-count 4 --task-sleep 0.01 --loop asyncio uvloop'
    )
    done = subprocess.run(
        [sys.executable, '-m', 'streambench', 'run', *words.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    (results,) = tmp_path.glob('runs/*/results.csv')
    names, *rows = (line.split(',') for line in results.read_text().splitlines())
    assert [row[names.index('loop')] for row in rows] == ['asyncio', 'uvloop']
    assert [row[names.index('completed_tasks')] for row in rows] == ['4', '4']
    assert re.search(r'default +asyncio', done.stdout)
    # Threads: each loop had a process of its own, and what both wrote is one whole.
    items = pyarrow.parquet.read_table(results.parent / 'items').to_pylist()
    assert len({(item['run'], item['worker_pid']) for item in items}) == 2
    assert len({item['worker_pid'] for item in items}) == 2
    assert main(['check', str(results.parent)]) == EXIT_OK
    assert len(json.loads((results.parent / 'summary.json').read_text())['runs']) == 2


@pytest.mark.parametrize(
    'error',
    [
        StallError('nothing moved', sent=3, received=2, submitted=1, completed=0),
        BrokerError('it is gone: start it', reason='gone'),
        ConfigError('no'),
    ],
)
def test_an_error_comes_back_from_another_process(error: StreamBenchError) -> None:
    """Its words, its class and what it carries, whatever its class wants to be made."""
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
