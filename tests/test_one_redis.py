"""One Redis as broker and store: recorded, with what its server took, and a caution."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from streambench.brokers.redis import RedisBroker
from streambench.cli import main
from streambench.errors import EXIT_OK
from tests.redis_server import RedisServer


def test_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict says how busy the server was; the column is there for any Redis that tells."""
    with RedisServer() as server:
        words = (
            f'--executor thread --stream redis --stream-servers {server.address} '
            f'--ps-host {server.host} --ps-port {server.port} --stream-method proxy '
            '--data-size-bytes 100kB --task-count 20 --task-sleep 0.02 --load 0.8'
        )
        assert main(['run', *words.split(), '--run-dir', str(tmp_path)]) == EXIT_OK
    text = capsys.readouterr().out
    (results,) = tmp_path.glob('*/results.csv')
    with results.open() as file:
        (row,) = csv.DictReader(file)
    assert row['redis_shared'] == 'True'
    used = float(row['broker_cpu'])
    assert 0 < used < 1
    assert f'broker and store are one Redis, busy for {used:.0%} of a core: large SETs' in text
    assert 'give two servers' in text


def test_a_server_that_does_not_tell() -> None:
    """Nobody there, or no right to ask: nothing is known, and nothing fails."""
    with RedisServer() as server:
        broker = RedisBroker(stream_servers=server.address)
        told = asyncio.run(broker.server_cpu_s())
        assert told is not None
        assert told > 0
        server.ask('ACL', 'SETUSER', 'default', '-info')
        assert asyncio.run(broker.server_cpu_s()) is None
        server.kill()
        assert asyncio.run(broker.server_cpu_s()) is None
