"""What every connector of the registry promises to generator, workers and session."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streambench import worker
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.file import FileConnectorPlugin
from streambench.connectors.redis import RedisConnectorPlugin
from streambench.connectors.store import OpenStore
from streambench.errors import ConnectorError
from streambench.servers.redis import EmbeddedRedis
from tests.connectors.conftest import OWN_FILE, Place
from tests.living import none_left, threads
from tests.redis_server import RedisServer

DEADLINE_S = 60.0
GONE_S = 10.0
BYTES_10MB = 10_000_000

ELSEWHERE = """\
import hashlib, json, sys
from streambench import worker
key, store = json.load(sys.stdin)
print(hashlib.sha256(worker.resolve(tuple(key), store)).hexdigest())
"""


async def resolved(key: Sequence[Any], store: OpenStore) -> bytes:
    """Return a payload as a worker thread gets it."""
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.to_thread(worker.resolve, tuple(key), store.description)


def resolved_elsewhere(key: Sequence[Any], description: str) -> str:
    """Return the SHA-256 of a payload as a worker in another process gets it."""
    done = subprocess.run(
        [sys.executable, '-c', ELSEWHERE],
        input=json.dumps([key, description]),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def refusal(plugin: ConnectorPlugin, name: str) -> str:
    """Return what a connector that can't be opened says."""
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConnectorError) as caught:
            async with plugin.open(name):
                pass
    text = str(caught.value)
    assert '\n' not in text
    assert text.endswith('.')
    assert 'Traceback' not in text
    return text


@pytest.mark.parametrize('size', [0, 1, BYTES_10MB])
async def test_a_worker_resolves_what_was_put(place: Place, store_name: str, size: int) -> None:
    """From nothing to 10 MB, a worker's thread gets the bytes that were put."""
    payload = os.urandom(size)
    async with place.plugin.open(store_name) as store:
        assert await resolved(await store.put([payload]), store) == payload


async def test_pieces_are_one_payload(place: Place, store_name: str) -> None:
    """A payload is put in pieces and resolved as one."""
    async with place.plugin.open(store_name) as store:
        assert await resolved(await store.put([b'head', b'', b'tail']), store) == b'headtail'


async def test_another_process_resolves_what_was_put(place: Place, store_name: str) -> None:
    """Key and description suffice in another process, unless objects live in this one only."""
    payload = os.urandom(100_000)
    async with place.plugin.open(store_name) as store:
        key = await store.put([payload])
        if place.plugin.in_process:
            with pytest.raises(AssertionError, match='lives in another process'):
                await asyncio.to_thread(resolved_elsewhere, key, store.description)
            return
        digest = await asyncio.to_thread(resolved_elsewhere, key, store.description)
    assert digest == hashlib.sha256(payload).hexdigest()


async def test_a_key_is_plain_data(place: Place, store_name: str) -> None:
    """A key that went through JSON is the key that was put."""
    async with place.plugin.open(store_name) as store:
        key = await store.put([b'payload'])
        assert type(key) is tuple
        again = json.loads(json.dumps(key))
        assert again == list(key)
        assert await resolved(again, store) == b'payload'


async def test_nothing_is_kept_beside_the_store(place: Place, store_name: str) -> None:
    """A worker of this process gets nothing once the object is gone: there is no cache."""
    async with place.plugin.open(store_name) as store:
        key = await store.put([b'payload'])
        assert await resolved(key, store) == b'payload'
        store.evict(key)
        await store.settle()
        with pytest.raises(Exception, match=store_name):
            await resolved(key, store)


async def test_evict_leaves_no_object(place: Place, store_name: str) -> None:
    """After evict and settle the store holds nothing of what was put."""
    async with place.plugin.open(store_name) as store:
        keys = [await store.put([b'payload %d' % number]) for number in range(50)]
        assert len(await asyncio.to_thread(place.objects)) == 50
        for key in keys:
            store.evict(key)
        await store.settle()
        assert list(await asyncio.to_thread(place.objects)) == []


async def test_a_cancelled_put_leaves_no_object(place: Place, store_name: str) -> None:
    """A put that is cancelled on its way removes what its thread still puts."""
    async with place.plugin.open(store_name) as store:
        puts = [asyncio.create_task(store.put([bytes(BYTES_10MB)])) for _ in range(4)]
        await asyncio.sleep(0.001)
        for task in puts:
            task.cancel()
        await asyncio.wait(puts)
        assert all(task.cancelled() for task in puts)
        await store.settle()
        assert list(await asyncio.to_thread(place.objects)) == []


async def test_closing_leaves_nothing(place: Place, store_name: str) -> None:
    """Closing removes objects that nobody evicted, the store's directory, and its threads."""
    before = threading.enumerate()
    async with place.plugin.open(store_name) as store:
        key = await store.put([b'payload'])
        assert await resolved(key, store) == b'payload'
        store.evict(await store.put([b'evicted']))
    assert list(await asyncio.to_thread(place.objects)) == []
    left = await asyncio.to_thread(none_left, lambda: threads(before), within_s=GONE_S)
    assert list(left) == []
    if place.user is not None:
        assert await asyncio.to_thread(os.listdir, place.user) == [OWN_FILE]


async def test_closing_spares_what_is_not_ours(
    redis_server: RedisServer, store_name: str, tmp_path: Path
) -> None:
    """Objects of others in the user's server outlive our store."""
    await asyncio.to_thread(redis_server.ask, 'FLUSHALL')
    await asyncio.to_thread(redis_server.ask, 'SET', 'not-of-streambench', 'x')
    plugin = RedisConnectorPlugin(ps_host=redis_server.host, ps_port=redis_server.port)
    async with plugin.open(store_name) as store, plugin.open(f'{store_name}-other') as other:
        await store.put([b'payload'])
        key = await other.put([b'payload'])
        async with plugin.open(f'{store_name}-third') as third:
            await third.put([b'payload'])
        assert await resolved(key, other) == b'payload'
    assert await asyncio.to_thread(redis_server.keys) == [b'not-of-streambench']


async def test_an_unreachable_server_is_one_sentence(store_name: str) -> None:
    """Where nothing listens, the message names the address and what to do."""
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        port = unused.getsockname()[1]
        text = await refusal(RedisConnectorPlugin(ps_host='127.0.0.1', ps_port=port), store_name)
    assert f'127.0.0.1:{port}' in text
    assert 'leave out --ps-host and --ps-port' in text


async def test_a_silent_server_is_one_sentence(store_name: str) -> None:
    """A server that accepts and never answers is given up."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, '127.0.0.1', 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        text = await refusal(RedisConnectorPlugin(ps_host='127.0.0.1', ps_port=port), store_name)
    assert f'127.0.0.1:{port}' in text


@pytest.mark.parametrize('given', [None, 'wrong'])
async def test_a_wrong_password_is_one_sentence(store_name: str, given: str | None) -> None:
    """Without the password, or with a wrong one, the message says where passwords come from."""
    async with EmbeddedRedis() as server:
        plugin = RedisConnectorPlugin(ps_host=server.host, ps_port=server.port, ps_password=given)
        text = await refusal(plugin, store_name)
    assert '$STREAMBENCH_PS_PASSWORD' in text
    assert server.password not in text


async def test_a_directory_that_can_not_be_made_is_one_sentence(
    store_name: str, tmp_path: Path
) -> None:
    """A file in the way of the directory is named, with what to do."""
    (tmp_path / 'file').touch()
    place = str(tmp_path / 'file' / 'store')
    text = await refusal(FileConnectorPlugin(ps_file_dir=place), store_name)
    assert repr(place) in text
    assert 'name a directory' in text


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
async def test_an_unwritable_directory_is_one_sentence(store_name: str, tmp_path: Path) -> None:
    """A directory without permission is named, with what to do."""
    place = tmp_path / 'closed'
    place.mkdir(mode=0o500)
    text = await refusal(FileConnectorPlugin(ps_file_dir=str(place)), store_name)
    assert repr(str(place)) in text
    assert 'name a directory' in text


@pytest.mark.parametrize('used', [False, True])
async def test_directories_that_we_made_go_if_nobody_uses_them(
    store_name: str, tmp_path: Path, used: bool
) -> None:
    """What the user names is made if absent, with what is above it, and removed when it is empty."""
    place = tmp_path / 'new' / 'one'
    async with FileConnectorPlugin(ps_file_dir=str(place)).open(store_name) as store:
        await store.put([b'payload'])
        if used:
            await asyncio.to_thread((place / OWN_FILE).touch)
    left = await asyncio.to_thread(lambda: sorted(path.name for path in tmp_path.rglob('*')))
    assert left == (sorted(['new', 'one', OWN_FILE]) if used else [])


async def test_a_server_that_goes_away_is_one_sentence(store_name: str) -> None:
    """After the server's end a put fails soon, an eviction is reported by settle, closing succeeds."""
    server = RedisServer()
    await asyncio.to_thread(server.__enter__)
    plugin = RedisConnectorPlugin(ps_host=server.host, ps_port=server.port)
    async with asyncio.timeout(20), plugin.open(f'{store_name}-{secrets.token_hex(2)}') as store:
        keys = [await store.put([b'payload']) for _ in range(20)]
        await asyncio.to_thread(server.kill)
        with pytest.raises(ConnectorError, match='did not take a payload of 7 bytes'):
            await store.put([b'payload'])
        with pytest.raises(Exception, match=r'(?i)connect'):
            await resolved(keys[0], store)
        for key in keys:
            store.evict(key)
            await asyncio.sleep(0.001)
        # Whenever the eviction failed, settle tells.
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectorError, match='did not remove'):
            await store.settle()
