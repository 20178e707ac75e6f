"""A ProxyStore endpoint with its relay, both of this machine and on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from streambench import leash
from streambench.connectors.endpoint import EndpointConnectorPlugin
from tests.living import until
from tests.required import need

START_S = 60.0
HOST = '127.0.0.1'


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether a server takes connections at a port of loopback."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class EndpointServer:
    """An endpoint that keeps its objects in a database, where a test can count them.

    Attributes:
        home: Value of $PROXYSTORE_HOME for whoever uses it.
        uuid: Its UUID.
    """

    def __init__(self) -> None:
        self.home = Path()
        self.uuid = ''
        self.port = free_port()
        self._relay_port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def _words(self, program: str, *words: str) -> list[str]:
        return [str(Path(sys.executable).parent / program), *words]

    def _start(self, name: str, words: list[str]) -> None:
        command = leash.command(*words, output=str(self.home / f'{name}.log'))
        self._processes.append(
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL)
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which it is found."""
        return os.environ | {'PROXYSTORE_HOME': str(self.home)}

    def __enter__(self) -> Self:
        """Configure and start both; return when the endpoint answers."""
        need('aiortc', 'quart', 'uvicorn', install=EndpointConnectorPlugin.install)
        self.home = Path(tempfile.mkdtemp(prefix='streambench-test-'))
        relay = ['--host', HOST, '--port', str(self._relay_port)]
        self._start('relay', self._words('proxystore-relay', *relay))
        words = ['--host', HOST, '--port', str(self.port), '--persist', '--no-relay-auth']
        words += ['--relay-address', f'ws://{HOST}:{self._relay_port}']
        subprocess.run(
            self._words('proxystore-endpoint', 'configure', 'lab', *words),
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=START_S,
        )
        self.uuid = tomllib.loads((self.home / 'lab' / 'config.toml').read_text())['uuid']
        assert until(lambda: listens(self._relay_port), within_s=START_S), self._logs()
        self._start('endpoint', self._words('proxystore-endpoint', 'start', 'lab', '--no-detach'))
        assert until(self._answers, within_s=START_S), self._logs()
        return self

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f'http://{HOST}:{self.port}/endpoint', timeout=5).ok
        return False

    def _logs(self) -> str:
        return '\n'.join(path.read_text() for path in self.home.glob('*.log'))

    def objects(self) -> list[str]:
        """Return the names of its objects."""
        database = self.home / 'lab' / 'blobs.db'
        if not database.exists():
            return []
        with closing(sqlite3.connect(database, timeout=30)) as found:
            return [row[0] for row in found.execute('SELECT key FROM blobs')]

    def kill(self) -> None:
        """End both as a crash would."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End both and remove what they wrote."""
        self.kill()
        assert self.home.is_absolute()
        shutil.rmtree(self.home, ignore_errors=True)
