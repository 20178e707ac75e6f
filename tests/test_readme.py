"""README says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from streambench.config import OPTIONS
from streambench.plan import make_plan

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')

# Flags of sbatch, srun, mpiexec, pip, apt-get, podman, ProxyStore's commands and our scripts.
OTHERS = {
    '--account',
    '--bind',
    '--bind-to',
    '--clock',
    '--constraint',
    '--cpu-bind',
    '--cpus-per-task',
    '--delay',
    '--find-links',
    '--host',
    '--mbit',
    '--no-cache-dir',
    '--no-deps',
    '--no-detach',
    '--no-index',
    '--no-install-recommends',
    '--no-relay-auth',
    '--nodes',
    '--ntasks-per-node',
    '--output',
    '--partition',
    '--port',
    '--relay-address',
    '--time',
}


def blocks(language: str) -> list[str]:
    """Return README's code blocks of a language."""
    return re.findall(rf'```{language}\n(.*?)```', README, flags=re.DOTALL)


def test_tables_are_new() -> None:
    """The tables of options, columns and bounds are those of the code."""
    script = str(ROOT / 'scripts' / 'readme')
    done = subprocess.run([sys.executable, script, '--check'], check=False, timeout=60)
    assert done.returncode == 0, 'run scripts/readme'


def test_no_placeholder_is_left() -> None:
    """Every output in README was put there by somebody who ran it."""
    assert not re.findall(r'@[A-Z0-9]+@', README)


def test_toml_example_is_a_plan() -> None:
    """The TOML of README can be run as it stands."""
    data = tomllib.loads(blocks('toml')[0])
    sweep = data.pop('sweep')
    plan = make_plan(data, sweep=sweep)
    assert len(plan.runs) == 8


def test_library_example_runs() -> None:
    """The library example prints an efficiency, a latency and a verdict."""
    code = next(block for block in blocks('python') if 'asyncio.run' in block)
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    efficiency, sojourn, verdict = done.stdout.split()
    assert 0.3 < float(efficiency) <= 1
    assert 0.01 <= float(sojourn) < 1
    assert verdict in ('valid', 'caution', 'invalid')


def test_plugin_example_is_one_that_runs() -> None:
    """The plugin of README is that of tests/third_party, word for word."""
    runs = ROOT / 'tests' / 'third_party' / 'acme_streams' / 'broker.py'
    assert runs.read_text(encoding='utf-8') in blocks('python')


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    plain = re.sub(r'[`*]', '', heading).strip().lower()
    return re.sub(r'[^\w\- ]', '', plain).replace(' ', '-')


def test_every_link_leads_somewhere() -> None:
    """Links within README have their headings, and what it names in backticks under a path is there."""
    text = re.sub(r'```.*?```', '', README, flags=re.DOTALL)
    anchors = {anchor(heading) for heading in re.findall(r'^#+ (.+)$', text, flags=re.MULTILINE)}
    wanted = set(re.findall(r'\]\(#([^)]+)\)', text))
    assert wanted
    assert wanted - anchors == set()
    paths = re.findall(r'`((?:scripts|tests|streambench)/[\w/.-]+)', text)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_flag_exists() -> None:
    """Each flag that README names is one of streambench's, or stands among those of other programs."""
    from streambench.cli.arguments import parsers
    from streambench.loop_monitor.command import parser as loop_parser

    known = set(loop_parser()._option_string_actions)
    for command in ('run', 'list', 'summarize', 'check', 'compare'):
        known |= set(parsers(command)[1]._option_string_actions)
    named = set(re.findall(r'(?<![\w-])--[a-z][a-z-]+[a-z]', README))
    assert named - known - OTHERS == set()


def test_loop_example_is_found_out(tmp_path: Path) -> None:
    """The program that README profiles is whole, and the line that holds its loop up is named."""
    code = next(block for block in blocks('python') if 'async def serve' in block)
    # Every request asks for the slow answer, so that a second is enough.
    quick = code.replace('< 0.97', '< 0').replace('range(150)', 'range(3)')
    (tmp_path / 'quick.py').write_text(quick, encoding='utf-8')
    words = [sys.executable, '-m', 'streambench', 'loop', '--format', 'csv', 'quick.py']
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 'quick.py:8 check' in done.stderr


def test_test_example_passes(tmp_path: Path) -> None:
    """The test that README shows is one, and holds in pytest as a user has it."""
    code = next(block for block in blocks('python') if 'async def test_latency' in block)
    (tmp_path / 'test_it.py').write_text(code, encoding='utf-8')
    command = [sys.executable, '-m', 'pytest', '-q', '-W', 'error', str(tmp_path / 'test_it.py')]
    scope = ['-o', 'asyncio_default_fixture_loop_scope=function']
    done = subprocess.run(
        [*command, *scope], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert '1 passed' in done.stdout


def test_changelog_names_the_version() -> None:
    """The changelog has an entry for the version that the package says it is."""
    from streambench import __version__

    assert f'## {__version__}' in (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert OPTIONS
