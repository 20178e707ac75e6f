"""What stands around the SDK in these tests: RabbitMQ and endpoints, real ones, and the stand-in."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from streambench import leash
from tests.living import until

HOST = '127.0.0.1'
# Of the stand-in, which can't be imported where the endpoint's package is missing.
PORT = 5000
CLIENT_ID = '99999999-0000-4000-8000-000000000001'
CLIENT_SECRET = 'of-the-stand-in'

START_S = 60.0
LOCK_S = 600.0
ROOT = Path(__file__).resolve().parent.parent.parent
RABBITMQ = Path('/usr/lib/rabbitmq/bin/rabbitmq-server')

RABBITMQ_CONF = """\
listeners.tcp.local = 127.0.0.1:{port}
loopback_users = none
log.console = false
log.file.level = warning
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MB
max_message_size = 33554432
"""

# The ProcessPoolEngine (4.19) forks while its threads connect: 2 of 26 such endpoints lost their first
# task here with both workers alive; of 40 with threads none did. With `max_tasks_per_child` it spawns
# them and none of 44 did, but each starts a second later. Sites have the engine below.
POOL = """\
heartbeat_period: 5
engine: {type: ThreadPoolEngine, max_workers: 2}
"""
HTEX = """\
heartbeat_period: 5
engine:
  type: GlobusComputeEngine
  encrypted: false
  address: 127.0.0.1
  max_workers_per_node: 2
  cores_per_worker: 0.5
  heartbeat_period: 2
  heartbeat_threshold: 10
  job_status_kwargs: {strategy_period: 0.5, max_idletime: 600}
  provider: {type: LocalProvider, init_blocks: 1, min_blocks: 1, max_blocks: 1}
"""
CORE = """\
display_name: core
email: root@localhost
heartbeat_period: 5
local_compute_services: true
"""


def missing() -> str:
    """Return what these tests lack here and how to get it, or nothing."""
    if not RABBITMQ.exists() or shutil.which('epmd') is None:
        return 'RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server'
    if find_spec('globus_compute_endpoint') is None:
        return "the endpoint is not installed: pip install 'streambench[test]'"
    return ''


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Say whether somebody takes connections there."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


@contextmanager
def alone() -> Iterator[None]:
    """Hold the stand-in's port, which the SDK fixes, against other runs of these tests."""
    with open(Path(tempfile.gettempdir()) / 'streambench-globus.lock', 'w') as file:

        def locked() -> bool:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        assert until(locked, within_s=LOCK_S), f'other tests hold port {PORT}'
        yield


class Server:
    """A process on a leash, in a group of its own, that may be killed and started again."""

    def __init__(self, words: Sequence[str], *, output: Path, environment: Mapping[str, str]) -> None:
        self._words = words
        self._output = output
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int) -> None:
        """Start it; return when it listens."""
        self._process = subprocess.Popen(
            leash.command(*self._words, output=str(self._output)), env=self._environment, cwd=ROOT
        )

        def ready() -> bool:
            assert self._process is not None
            return self._process.poll() is not None or listens(port)

        until(ready, within_s=START_S)
        assert listens(port), f'{self._words[0]} does not start:\n{self._output.read_text()}'

    def kill(self) -> None:
        """End it and all that it started, as a crash would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class RabbitMQ:
    """A RabbitMQ with a port mapper of its own, all of it on loopback.

    Args:
        directory: Where it keeps its data.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._mapper_port, distribution = free_port(), free_port()
        for name in ('mnesia', 'log', 'home'):
            (directory / name).mkdir(parents=True)
        (directory / 'rabbitmq.conf').write_text(RABBITMQ_CONF.format(port=self.port))
        (directory / 'enabled_plugins').write_text('[].')
        environment = {
            **os.environ,
            'HOME': str(directory / 'home'),
            'RABBITMQ_HOME_DIR': str(directory / 'home'),
            'RABBITMQ_NODENAME': f'streambench{self.port}@localhost',
            'RABBITMQ_CONFIG_FILE': str(directory / 'rabbitmq.conf'),
            'RABBITMQ_MNESIA_BASE': str(directory / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(directory / 'log'),
            'RABBITMQ_LOGS': str(directory / 'log' / 'rabbit.log'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(directory / 'enabled_plugins'),
            'RABBITMQ_PID_FILE': str(directory / 'rabbit.pid'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_DIST_PORT': str(distribution),
            'ERL_EPMD_PORT': str(self._mapper_port),
            'ERL_EPMD_ADDRESS': HOST,
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
                '-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none'
            ),
        }
        mapper = ['epmd', '-port', str(self._mapper_port), '-address', HOST]
        self._mapper = Server(mapper, output=directory / 'epmd.out', environment=environment)
        self._broker = Server(
            [str(RABBITMQ)], output=directory / 'rabbitmq.out', environment=environment
        )

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f'amqp://guest:guest@{HOST}:{self.port}/%2F'

    def start(self) -> None:
        """Start it; return when it takes connections."""
        self._mapper.start(self._mapper_port)
        self._broker.start(self.port)

    def kill(self) -> None:
        """End it as a crash would."""
        self._broker.kill()
        self._mapper.kill()


class Site:
    """The stand-in, and endpoints that belong to it.

    Args:
        directory: Where all of them keep their files.
        amqp: URL of the broker.
    """

    def __init__(self, directory: Path, amqp: str) -> None:
        self.directory = directory
        words = ['-m', 'tests.globus.stand_in', '--amqp', amqp, '--state', str(directory / 'state')]
        self._stand_in = Server(
            [sys.executable, *words], output=directory / 'stand-in.out', environment=os.environ
        )

    @property
    def environment(self) -> dict[str, str]:
        """What points the SDK and the endpoint, as they are, at the stand-in."""
        return {
            'GLOBUS_SDK_ENVIRONMENT': 'local',
            'GLOBUS_SDK_SERVICE_URL_AUTH': f'http://{HOST}:{PORT}/',
            'GLOBUS_COMPUTE_CLIENT_ID': CLIENT_ID,
            'GLOBUS_COMPUTE_CLIENT_SECRET': CLIENT_SECRET,
            'GLOBUS_COMPUTE_USER_DIR': str(self.directory / 'user'),
        }

    def start(self) -> None:
        """Start the stand-in."""
        assert not listens(PORT), f'somebody else listens on port {PORT}, which the SDK fixes'
        (self.directory / 'user').mkdir(mode=0o700, exist_ok=True)
        self._stand_in.start(PORT)

    def kill(self) -> None:
        """End the stand-in as a crash would."""
        self._stand_in.kill()

    def ask(self, what: str, body: object = None) -> Any:
        """Ask the stand-in itself for something."""
        request = urllib.request.Request(
            f'http://{HOST}:{PORT}/stand-in/{what}', data=json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def largest_request_bytes(self) -> int:
        """Return the length of the largest request so far."""
        return max(int(length) for _, _, length in self.ask('requests'))


class Endpoint:
    """A real endpoint, started as a core endpoint does it: what it needs comes by standard input.

    Args:
        site: Where it belongs.
        config: Its configuration.
        environment: Further variables of its processes.
    """

    def __init__(
        self,
        site: Site,
        config: str = POOL,
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        credentials = site.ask('endpoints')
        self.id = str(credentials['endpoint_id'])
        self._config = config
        self._credentials = credentials
        self._directory = site.directory / 'user' / uuid.uuid4().hex[:8]
        scripts = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            **site.environment,
            'PATH': f'{scripts}{os.pathsep}{os.environ["PATH"]}',
            **environment,
        }
        self._program = str(scripts / 'globus-compute-endpoint')
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its first answer takes some seconds."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        said = {
            'ep_info': {'posix_ppid': os.getpid()},
            'config': self._config,
            'amqp_creds': self._credentials,
            'mem_fd': None,
            'enckey': '',
        }
        with open(self._directory / 'output', 'ab') as output:
            self._process = subprocess.Popen(
                [self._program, '_start-user-endpoint', self._directory.name],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said).encode())
        self._process.stdin.close()

    def kill(self) -> None:
        """End it and its workers as a crash of their machine would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class CoreEndpoint:
    """A real core endpoint, configured by files and environment variables only.

    Args:
        site: Where it belongs.
    """

    def __init__(self, site: Site) -> None:
        self._directory = site.directory / 'user' / 'core'
        self._output = site.directory / 'core.out'
        scripts = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            **site.environment,
            'PATH': f'{scripts}{os.pathsep}{os.environ["PATH"]}',
        }
        self._words = [str(scripts / 'globus-compute-endpoint'), 'start', 'core']
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it; return the id that it got."""
        self._directory.mkdir(mode=0o700)
        files = {
            'config.yaml': CORE,
            'user_config_template.yaml.j2': POOL.replace('2}', '{{ workers|default(1) }}}'),
            'user_config_schema.json': json.dumps(
                {'type': 'object', 'properties': {'workers': {'type': 'integer'}}}
            ),
            # A core endpoint of root clears the environment of those that it starts.
            'user_environment.yaml': ''.join(
                f"{name}: '{self._environment[name]}'\n" for name in ('PATH', 'GLOBUS_COMPUTE_USER_DIR')
            ),
        }
        for name, text in files.items():
            (self._directory / name).write_text(text)
        with open(self._output, 'wb') as output:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # It ends its whole process group when it is stopped.
                start_new_session=True,
            )
        registered = self._directory / 'endpoint.json'
        process = self._process
        until(lambda: registered.exists() or process.poll() is not None, within_s=START_S)
        assert registered.exists(), f'the core endpoint does not start:\n{self._output.read_text()}'
        return str(json.loads(registered.read_text())['endpoint_id'])

    def stop(self) -> None:
        """End it and the endpoints that it has started."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
