"""What connectors refuse before anything is started, each by one sentence."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streambench import registry
from streambench.catalogue import catalogue
from streambench.connectors.globus import GlobusConnectorPlugin
from streambench.connectors.redis import RedisConnectorPlugin
from streambench.errors import ConfigError, ConnectorError, MissingExtraError
from streambench.options import options_of
from streambench.settings import configure, plan_values
from tests.connectors.endpoint_server import HOST
from tests.required import need

UUID = 'a68bf7c8-3a8f-4390-b1ee-4e885a32ad42'
FILE_CONNECTOR = 'proxystore.connectors.file:FileConnector'

# What psbench requires of each, by our names; a server address of ours may be left out.
REQUIRED = {
    'redis': set(),
    'file': {'ps_file_dir'},
    'local': set(),
    'endpoint': {'ps_endpoints'},
    'zmq': {'ps_port'},
    'globus': {'ps_globus_config'},
    'margo': {'ps_port'},
    'ucx': {'ps_port'},
    'daos': {'ps_daos_pool', 'ps_daos_container', 'ps_daos_namespace'},
    registry.BY_PATH: set(),
}
GIVEN: dict[str, dict[str, Any]] = {
    'margo': {'ps_port': 7000, 'ps_margo_protocol': 'ofi+tcp', 'ps_address': HOST},
    'ucx': {'ps_port': 7000, 'ps_interface': 'lo'},
    'daos': {'ps_daos_pool': 'p', 'ps_daos_container': 'c', 'ps_daos_namespace': 'n'},
}
LIBRARIES = {'margo': 'pymargo', 'ucx': 'ucp', 'daos': 'pydaos'}


def point(connector: str, **values: Any) -> Any:
    """Return a configuration whose proxies go through a connector."""
    return configure(
        executor='thread', stream='memory', stream_method='proxy', ps_connector=connector, **values
    )


def sentence(connector: str, **values: Any) -> str:
    """Return the sentence by which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        point(connector, **values)
    text = str(caught.value)
    assert '\n' not in text
    assert text.endswith(('.', '?'))
    assert 'geheim' not in text
    return text


@pytest.mark.parametrize('name', registry.names('connector', others=False))
def test_each_connector_needs_what_psbench_says(name: str) -> None:
    """An option is required exactly when its connector needs it, and its absence names it."""
    plugin = registry.load('connector', name)
    options = options_of(plugin)
    needed = {option for option, entry in options.items() if entry.required}
    assert needed == REQUIRED[name]
    if not needed:
        return
    text = sentence(name)
    first = options[next(option for option in options if option in needed)]
    assert f'{first.flag} {first.kind.metavar}' in text
    # Method default alone needs no store, so nothing is missing.
    other = configure(executor='thread', stream='memory', stream_method='default', ps_connector=name)
    assert other.connector_plugin is None


@pytest.mark.parametrize('name', LIBRARIES)
def test_a_library_that_can_not_be_had_is_one_sentence(name: str) -> None:
    """With its options given, what is missing is the library; the sentence says what to install."""
    with pytest.raises(MissingExtraError) as caught:
        point(name, **GIVEN[name])
    text = str(caught.value)
    assert f'--ps-connector {name} needs {LIBRARIES[name]}' in text
    assert 'pip install' in text
    assert text.endswith('.')


@pytest.mark.parametrize('name', LIBRARIES)
def test_declarations_fit_the_signature_of_their_class(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments that would be given are those that ProxyStore's class takes."""
    # An empty module suffices to read a signature; nothing of the library is called.
    monkeypatch.setitem(sys.modules, 'pydaos', ModuleType('pydaos'))
    monkeypatch.delitem(sys.modules, 'proxystore_ex.connectors.daos', raising=False)
    plugin = registry.load('connector', name)(**GIVEN[name])
    need('proxystore_ex', install=plugin.install)
    path, arguments, key = plugin.connector('store')
    module, _, class_name = path.rpartition('.')
    inspect.signature(getattr(importlib.import_module(module), class_name)).bind(**arguments)
    assert class_name == plugin.class_name
    module, _, key_name = key.partition(':')
    assert getattr(importlib.import_module(module), key_name)._fields


@pytest.mark.parametrize(
    ('connector', 'values', 'words'),
    [
        ('endpoint', {'ps_endpoints': 'lab'}, ['--ps-endpoints', "'lab'", 'UUIDs']),
        ('endpoint', {'ps_endpoints': [UUID, 'x']}, ['--ps-endpoints', 'UUIDs']),
        ('zmq', {'ps_port': 70000}, ['--ps-port', 'at most 65535']),
        (
            'zmq',
            {'ps_port': 7000, 'ps_address': 'n1', 'ps_interface': 'eth0'},
            ['--ps-address n1', '--ps-interface eth0', 'one of them'],
        ),
        ('zmq', {'ps_port': 7000, 'ps_host': 'n1'}, ['--ps-host', '--ps-connector redis']),
        ('redis', {'ps_tls': True}, ['--ps-tls', 'embedded', '--ps-host']),
        ('redis', {'ps_ca_file': 'ca.crt'}, ['--ps-ca-file', 'embedded', '--ps-url-file']),
        ('file', {'ps_file_dir': 'd', 'ps_options': '{}'}, ['--ps-options', 'module:Class']),
        ('proxystore:Nothing', {}, ["no class 'Nothing'", 'module:Class']),
        ('no.such.module:Class', {}, ["'no.such.module'", 'PYTHONPATH']),
        ('module:Class', {}, ["module 'module' can not be imported"]),
        (FILE_CONNECTOR[:-2], {}, ["'FileConnect'", 'did you mean FileConnector?']),
        ('pathlib:Path', {}, ['Path is no connector', 'put']),
        (FILE_CONNECTOR, {}, ['--ps-options JSON', 'store_dir', 'takes store_dir, clear']),
        (FILE_CONNECTOR, {'ps_options': '{"stor_dir": 1}'}, ["'stor_dir'", 'did you mean store_dir?']),
        (FILE_CONNECTOR, {'ps_options': '{"x": 1}'}, ["no 'x'", 'takes store_dir, clear']),
        (FILE_CONNECTOR, {'ps_options': '[1]'}, ['--ps-options', 'JSON object']),
        (FILE_CONNECTOR, {'ps_options': '{broken'}, ['--ps-options', 'JSON object']),
        (FILE_CONNECTOR, {'ps_options': '{"password": "geheim"'}, ['--ps-options', 'JSON object']),
        (
            FILE_CONNECTOR,
            {'ps_options': '{"store_dir": {"a": [{"api_token": "geheim"}]}}'},
            ['api_token', '$STREAMBENCH_PS_SECRET_OPTIONS'],
        ),
        (
            FILE_CONNECTOR,
            {'ps_options': '{"store_dir": ["a", "s3://me:geheim@host/"]}'},
            ['the password in the URL of store_dir', '$STREAMBENCH_PS_SECRET_OPTIONS'],
        ),
    ],
)
def test_a_mistake_is_one_sentence(connector: str, values: dict[str, Any], words: list[str]) -> None:
    """It says what, the value and the remedy, and repeats no password."""
    text = sentence(connector, **values)
    for word in words:
        assert word in text


def test_secret_options_are_given_and_not_recorded(tmp_path: Path) -> None:
    """Arguments from the environment reach the class; what is recorded lacks them."""
    given = {'ps_options': '{"clear": true}', 'ps_secret_options': json.dumps({'store_dir': 'geheim'})}
    config = point(FILE_CONNECTOR, **given)
    path, arguments, _ = config.connector_plugin.connector('store')
    assert path == 'proxystore.connectors.file.FileConnector'
    assert arguments == {'clear': True, 'store_dir': 'geheim'}
    assert config.connector_plugin.class_name == 'FileConnector'
    assert plan_values(config)['ps_options'] == '{"clear": true}'
    assert 'geheim' not in str(plan_values(config)) + repr(config)


def test_a_url_of_tls_sets_tls(tmp_path: Path) -> None:
    """rediss:// does what --ps-tls does; redis:// doesn't."""
    file = tmp_path / 'url'
    for scheme, tls in (('rediss', True), ('redis', False)):
        file.write_text(f'{scheme}://:geheim@host:7000')
        _, arguments, _ = RedisConnectorPlugin(ps_url_file=str(file)).connector('store')
        assert arguments.get('tls', False) == tls
        assert (arguments['hostname'], arguments['port']) == ('host', 7000)
    file.write_text('rediss://:geheim@host:7000?ssl_cert_reqs=none')
    with pytest.raises(ConfigError, match=r'^--ps-url-file: .* settings after a .* leave them out\.$'):
        RedisConnectorPlugin(ps_url_file=str(file)).address()


def refusal(plugin: Any) -> str:
    """Return what a connector that can't be opened says."""

    async def opened() -> None:
        async with asyncio.timeout(60), plugin.open('streambench-test'):
            pass

    with pytest.raises((ConnectorError, ConfigError)) as caught:
        asyncio.run(opened())
    text = str(caught.value)
    assert '\n' not in text
    assert text.endswith('.')
    return text


COLLECTION = {'host_regex': '.*', 'endpoint_path': '/a', 'local_path': '/b'}


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, ['can not be read', 'No such file']),
        ('{', ['is not JSON']),
        ('{}', ['two or more collections']),
        (json.dumps({UUID: COLLECTION, 'other': {'host_regex': '.*'}}), ['other', 'local_path']),
    ],
)
def test_a_wrong_globus_config_is_one_sentence(
    content: str | None, words: list[str], tmp_path: Path
) -> None:
    """The file is read before Globus is asked."""
    file = tmp_path / 'globus.json'
    if content is not None:
        file.write_text(content)
    text = refusal(GlobusConnectorPlugin(ps_globus_config=str(file)))
    for word in ['--ps-globus-config', *words]:
        assert word in text


def test_globus_without_a_login_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has logged in, the connector is not made: it would ask for a code, for ever."""
    monkeypatch.setenv('PROXYSTORE_HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('PROXYSTORE_GLOBUS_CLIENT_ID', raising=False)
    file = tmp_path / 'globus.json'
    file.write_text(json.dumps({UUID: COLLECTION, UUID.replace('a', 'b'): COLLECTION}))
    text = refusal(GlobusConnectorPlugin(ps_globus_config=str(file)))
    assert 'proxystore-globus-auth login' in text


def test_the_list_says_what_was_tested() -> None:
    """Each connector says whether tests run it; those that can't be had here say never."""
    tested = {row[1]: row[3] for row in catalogue() if row[0] == 'connector'}
    assert set(tested) >= set(REQUIRED)
    for name in REQUIRED:
        expected = 'never: ' if name in {*LIBRARIES, 'globus'} else 'yes'
        assert tested[name].startswith(expected)


def test_help_names_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    """psbench's spellings are ours."""
    from streambench.cli.arguments import parsers

    text = parsers('run')[1].format_help()
    for flag in (
        '--ps-connector',
        '--ps-endpoints',
        '--ps-file-dir',
        '--ps-globus-config',
        '--ps-host',
        '--ps-port',
        '--ps-address',
        '--ps-interface',
        '--ps-margo-protocol',
        '--ps-daos-pool',
        '--ps-daos-container',
        '--ps-daos-namespace',
        '--ps-options',
    ):
        assert flag in text
