"""A Redis server without a password that a test may kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import redis

from streambench import leash
from streambench.servers.redis import find_server
from tests.living import until

START_S = 30.0


class RedisServer:
    """A server on a free port of loopback, without persistence, as long as its `with` block."""

    host = '127.0.0.1'

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'{self.host}:{self.port}'

    def __enter__(self) -> Self:
        """Start it; return when it answers."""
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = int(probe.getsockname()[1])
        words = [find_server(), '--port', str(self.port), '--bind', self.host, '--save', '']
        self._process = subprocess.Popen(
            leash.command(*words, '--dir', tempfile.gettempdir()), stdout=subprocess.DEVNULL
        )
        assert until(self._answers, within_s=START_S), 'the Redis server does not start'
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.kill()

    def _answers(self) -> bool:
        try:
            return bool(self.ask('PING'))
        except (redis.RedisError, OSError):
            return False

    def client(self) -> redis.Redis:
        """Return a client, to be closed."""
        return redis.Redis(host=self.host, port=self.port)

    def ask(self, *words: str | int) -> Any:
        """Return the answer to a command, asked on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def keys(self) -> list[bytes]:
        """Return all keys."""
        return list(self.ask('KEYS', '*'))

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let the server accept connections and say nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
