"""The whole way of an item through each connector: threads and processes, both generators."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import uvloop
from blockbuster import blockbuster_ctx

from streambench.cli import main
from streambench.connectors.zmq import ZeroMQConnectorPlugin
from streambench.recorder import make_run_directory
from streambench.run_spec import RunSpec
from streambench.session import open_session
from streambench.settings import configure
from tests.connectors.conftest import Servers
from tests.connectors.endpoint_server import HOST, EndpointServer, free_port
from tests.connectors.tls_redis import PASSWORD, TlsRedis
from tests.living import none_left, processes
from tests.required import need

DEADLINE_S = 120.0
GONE_S = 10.0
ITEMS = 6
SIZE_BYTES = 50_000
WORKERS = 3
MARK = 'STREAMBENCH_TEST_MARK'

CASES = [
    (executor, connector)
    for executor in ('thread', 'process')
    for connector in ('redis', 'file', 'zmq', 'endpoint', 'module:Class', 'local')
    if (executor, connector) != ('process', 'local')
]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A connector to run with.

    Attributes:
        values: Its options.
        objects: What lies in its store afterwards.
    """

    values: dict[str, Any]
    objects: Callable[[], Collection[object]] = tuple


def place(connector: str, servers: Servers, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return the options of a connector, with its server started."""
    if connector == 'redis':
        server = servers(TlsRedis)
        values = {
            'ps_host': server.host,
            'ps_port': server.port,
            'ps_password': PASSWORD,
            'ps_ca_file': server.ca_file,
        }
        return Place(values=values, objects=server.keys)
    if connector == 'file':
        return Place(values={'ps_file_dir': str(directory)}, objects=lambda: [*directory.iterdir()])
    if connector == 'zmq':
        need(*ZeroMQConnectorPlugin.packages, install=ZeroMQConnectorPlugin.install)
        return Place(values={'ps_port': free_port(), 'ps_address': HOST})
    if connector == 'endpoint':
        endpoint = servers(EndpointServer)
        monkeypatch.setenv('PROXYSTORE_HOME', str(endpoint.home))
        return Place(values={'ps_endpoints': endpoint.uuid}, objects=endpoint.objects)
    if connector == 'module:Class':
        store = directory / 'store'
        values = {
            'ps_connector': 'proxystore.connectors.file:FileConnector',
            'ps_options': json.dumps({'store_dir': str(store)}),
        }
        return Place(values=values, objects=lambda: [*store.rglob('*')])
    return Place(values={})


async def measure(values: dict[str, Any], directory: Path, places: list[str]) -> list[Any]:
    """Run with both places of the generator in one session."""
    config = configure(**values)
    results = []
    async with asyncio.timeout(DEADLINE_S):
        async with open_session(config, slots=WORKERS, directory=directory) as session:
            for number, where in enumerate(places):
                spec = RunSpec(
                    run=number,
                    point=number,
                    repeat=0,
                    seed=1,
                    config=configure(**(values | {'generator': where})),
                    opened_slots=WORKERS,
                )
                results.append(await session.run(spec))
    return results


@pytest.mark.parametrize(('executor', 'connector'), CASES)
def test_items_go_through_the_store(
    executor: str,
    connector: str,
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every payload is put, resolved on a worker, intact, and evicted; nothing is left running."""
    where = place(connector, servers, tmp_path, monkeypatch)
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    directory = make_run_directory(str(tmp_path.parent / f'{tmp_path.name}-runs'))
    in_process = executor == 'thread'
    values = {
        'executor': executor,
        # A generator on a worker of another process can't reach the broker of this one.
        'stream': 'memory' if in_process else 'redis',
        'stream_method': 'proxy',
        'ps_connector': connector,
        'task_count': ITEMS,
        'data_size_bytes': SIZE_BYTES,
        'task_sleep': 0.02,
        'workers': WORKERS,
        'rate': 50,
    } | where.values
    places = ['loop', 'worker']
    with blockbuster_ctx(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(values, directory, places))
    for result in results:
        assert (result.row.ended, result.row.reason, result.error) == ('complete', '', None)
        assert (result.row.completed_tasks, result.row.failed, result.row.corrupt) == (ITEMS, 0, 0)
        assert result.row.resolved_in_dispatcher == 0
    items = [
        item
        for item in pyarrow.parquet.read_table(directory / 'items').to_pylist()
        if item['phase'] == 'measure'
    ]
    assert len(items) == ITEMS * len(places)
    for item in items:
        assert item['resolved_ns'] > item['start_ns']
        assert (item['worker_pid'] == os.getpid()) == in_process
    assert list(where.objects()) == []
    assert not none_left(lambda: processes(f'{MARK}={mark}'), within_s=GONE_S)


def test_passwords_are_nowhere_in_the_results(
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command with a password and TLS writes and prints all but the password."""
    server = servers(TlsRedis)
    monkeypatch.setenv('STREAMBENCH_PS_PASSWORD', PASSWORD)
    words = '--executor thread --stream memory --stream-method proxy --task-count 4 --task-sleep 0.02'
    words += f' --data-size-bytes 1kB --load 0.5 --ps-host {server.host} --ps-port {server.port}'
    words += f' --ps-ca-file {server.ca_file} --run-dir {tmp_path} --log-file-level DEBUG'
    # A measurement this short has reasons to be doubted.
    assert main(['run', *words.split()]) in (0, 5)
    said = capsys.readouterr()
    assert PASSWORD not in said.out + said.err
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert any('ps_ca_file' in path.read_text() for path in files if path.name == 'config.toml')
    for path in files:
        assert PASSWORD.encode() not in path.read_bytes()
    assert server.keys() == []
