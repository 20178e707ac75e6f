"""The laws of the house: imports go one way, and what is light stays light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / 'streambench'

# Layer by layer, lowest first; a module imports only from lower layers, and packages of plugins follow
# the same rule inside. What is not named here is in the layer of its package.
LAYERS: list[set[str]] = [
    {'errors', 'clock', 'message', 'payload', 'stages', 'leash', 'threads', 'loop_monitor'},
    {'machine', 'bounds', 'sequences', 'interfaces'},
    {'worker', 'pacer', 'records', 'pytest_plugin'},
    {'registry', 'kinds', 'url_file', 'log', 'plugin', 'ranks', 'tables', 'schemas', 'newest'},
    {'difference', 'reach', 'versions'},
    {
        'bottleneck',
        'bookkeeping',
        'oracle',
        'clocks',
        'thresholds',
        'ideal',
        'tally',
        'loop_wait',
        'packing',
    },
    {'offsets', 'other_clocks', 'stations', 'waiting', 'loop_findings', 'parts'},
    {'verdict'},
    {'trace'},
    {'arrivals'},
    {'options', 'judging_kinds', 'load_kinds'},
    {'brokers.base', 'connectors.base', 'executors.base'},
    {'brokers', 'connectors', 'executors', 'servers', 'config', 'bridge'},
    {'combinations'},
    {'settings'},
    {'run_spec'},
    {'plan', 'summary', 'environment', 'ledger', 'catalogue'},
    {'outcomes'},
    {'abort'},
    {'recorder', 'arm', 'generator', 'dispatcher', 'node_hours', 'run_row', 'strain', 'stored_rows'},
    {'probes', 'surroundings'},
    {'warm_up'},
    {
        'production',
        'comparability',
        'series',
        'run_directory',
        'item_laws',
        'series_laws',
    },
    {'patience', 'loop_recount', 'live'},
    {'run', 'comparison', 'recount', 'stored_cells'},
    {'session', 'audit'},
    {'wording'},
    {'points', 'narrowing'},
    {'side_by_side'},
    {'notes'},
    {'waterfall', 'outcome_table', 'plan_table'},
    {'results_table'},
    {'report', 'progress'},
    {'cli'},
]
STANDARD_ONLY = {'errors', 'clock', 'message', 'payload', 'records', 'worker', 'leash', 'reach'}
PACKAGES = {'', 'loop_monitor', 'brokers', 'connectors', 'executors', 'servers', 'cli'}
CLIENTS = {
    'redis': {'brokers', 'connectors'},
    'aiokafka': {'brokers'},
    'parsl': {'executors'},
    'proxystore': {'connectors', 'worker'},
    'globus_compute_sdk': {'executors'},
    'globus_sdk': {'connectors', 'executors'},
    'proxystore_ex': {'connectors'},
    'requests': {'connectors'},
    'zmq': {'connectors', 'executors'},
    'distributed': {'executors'},
    'dask': {'executors'},
}


def modules() -> dict[str, Path]:
    """Return every module of the package by its name without the package's."""
    found = {}
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        if parts in (('__init__',), ('__main__',)):
            continue
        found['.'.join(part for part in parts if part != '__init__')] = path
    return found


def layer(module: str) -> int:
    """Return the number of a module's layer."""
    for number, names in enumerate(LAYERS):
        if module in names:
            return number
    head = module.partition('.')[0]
    for number, names in enumerate(LAYERS):
        if head in names:
            return number
    raise AssertionError(f'{module} is in no layer: name its place in the house')


def imports(path: Path, *, top_only: bool, typing: bool = False) -> set[str]:
    """Return the dotted names that a module imports, those for types only if asked."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test) and not typing:
            skipped |= {inner for child in node.body for inner in ast.walk(child)}
        if top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped |= {inner for child in node.body for inner in ast.walk(child)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.removeprefix('streambench').strip('.') in PACKAGES:
                names |= {f'{node.module}.{alias.name}' for alias in node.names}
            else:
                names.add(node.module)
    return names


def own(names: set[str]) -> set[str]:
    """Return the modules of ours among imported names, without the package's name."""
    return {
        name.removeprefix('streambench.')
        for name in names
        if name.startswith('streambench.') and not name.endswith('__version__')
    }


@pytest.mark.parametrize('module', sorted(modules()))
def test_imports_go_to_lower_layers(module: str) -> None:
    """A module imports from lower layers, or from its own package of plugins."""
    for name in own(imports(modules()[module], top_only=False)):
        if layer(name) < layer(module):
            continue
        assert name.partition('.')[0] == module.partition('.')[0], f'{module} imports {name}'


def test_plugins_do_not_import_each_other() -> None:
    """A plugin knows its base and its own client, never a sibling."""
    plugins = {
        name: path
        for name, path in modules().items()
        if name.partition('.')[0] in ('brokers', 'connectors', 'executors') and '.' in name
    }
    for module, path in plugins.items():
        kind, _, plugin = module.partition('.')
        for name in own(imports(path, top_only=False)):
            other_kind, _, other = name.partition('.')
            if other_kind not in ('brokers', 'connectors', 'executors') or other in ('base', 'store'):
                continue
            assert other_kind == kind, f'{module} imports {name}'
            assert set(other.split('_')) & set(plugin.split('_')), f'{module} imports {name}'


def test_third_party_clients_stay_in_their_plugins() -> None:
    """A broker's, store's or executor's client is imported in plugin files only."""
    for module, path in modules().items():
        for name in imports(path, top_only=False):
            places = CLIENTS.get(name.partition('.')[0])
            assert places is None or module.partition('.')[0] in places, f'{module} imports {name}'


def test_what_travels_to_workers_is_light() -> None:
    """A connector class of ours imports nothing of ours above layer 0."""
    travelling = {name: path for name, path in modules().items() if name.endswith('_connector')}
    assert len(travelling) == 3
    for module, path in travelling.items():
        for name in own(imports(path, top_only=False)):
            assert layer(name) == 0, f'{module} imports {name}'


@pytest.mark.parametrize('module', sorted(STANDARD_ONLY))
def test_layer_zero_is_standard_library(module: str) -> None:
    """What a compute task imports needs nothing that is installed."""
    for name in imports(modules()[module], top_only=True):
        head = name.partition('.')[0]
        assert head in sys.stdlib_module_names or head == 'streambench', f'{module} imports {name}'


def test_the_loop_monitor_imports_nothing_of_ours() -> None:
    """It works in a program that has nothing else of ours, nor anything that is installed."""
    found = {name: path for name, path in modules().items() if name.startswith('loop_monitor')}
    assert len(found) > 10
    for module, path in found.items():
        for name in imports(path, top_only=False):
            head = name.partition('.')[0]
            assert head in sys.stdlib_module_names or name.startswith('streambench.loop_monitor'), (
                f'{module} imports {name}'
            )


def test_the_loop_monitor_goes_round_in_no_circle() -> None:
    """Not even for the sake of types: each of its modules can be read after those that it needs."""
    found = {name: path for name, path in modules().items() if name.startswith('loop_monitor.')}
    needs = {
        module: {
            name
            for name in own(imports(path, top_only=False, typing=True))
            if name in found and name != module
        }
        for module, path in found.items()
    }
    assert sum(map(len, needs.values())) > 50
    graphlib.TopologicalSorter(needs).prepare()


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after a statement."""
    code = f'import sys; {statement}; print(*sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition('.')[0] for name in done.stdout.split()}


def test_worker_loads_the_standard_library_only() -> None:
    """Importing the compute task brings no installed package into a worker process."""
    extra = loaded_by('import streambench.worker') - loaded_by('pass')
    assert extra - set(sys.stdlib_module_names) == {'streambench'}
    assert not extra & {'asyncio', 'dataclasses', 'typing', 'socket', 'inspect', 'logging'}


def test_the_loop_monitor_loads_nothing_else() -> None:
    """uvloop's library is used if it is there already; it isn't imported for that."""
    extra = loaded_by('import streambench.loop_monitor') - loaded_by('pass')
    assert extra - set(sys.stdlib_module_names) == {'streambench'}


def test_help_loads_no_client() -> None:
    """The flags of every plugin are known without importing anybody's client."""
    loaded = loaded_by("from streambench.cli.arguments import parsers; parsers('run')[1].format_help()")
    assert not loaded & {'redis', 'aiokafka', 'parsl', 'proxystore', 'pyarrow', 'structlog', 'pydantic'}
    assert 'asyncio' not in loaded


def test_the_programs_help_loads_no_command() -> None:
    """`streambench --help` shows what the commands are called, and waits for none of them."""
    loaded = loaded_by('from streambench.cli.arguments import parsers; parsers()[0].format_help()')
    assert not loaded & {'dataclasses', 'asyncio', 'json'}


def test_package_is_lazy() -> None:
    """`import streambench` costs nothing but its own file; its names are all there."""
    assert 'asyncio' not in loaded_by('import streambench')
    import streambench

    for name in streambench.__all__:
        assert getattr(streambench, name) is not None
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = streambench.no_such_name


def test_modules_stay_short() -> None:
    """A module above 350 lines lacks a noun."""
    for module, path in modules().items():
        length = len(path.read_text(encoding='utf-8').splitlines())
        assert length <= 350, f'{module} has {length} lines'
