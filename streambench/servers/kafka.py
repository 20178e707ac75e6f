"""A local Kafka of one node (KRaft), for tests, trials and calibration on one machine.

It is the real broker, run by Java from the jars of $KAFKA_HOME or of Maven Central, on the loopback
interface only. A `LocalKafka` dies with the process that started it; `start` and `stop` are for one
that is to outlive it. Everything here is synchronous: an event loop calls it in a thread.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from streambench import leash
from streambench.errors import BrokerError, ConfigError
from streambench.servers.kafka_jars import cache_directory, find_jars, find_java

HOST = '127.0.0.1'
DEFAULT_PORT = 9092
MESSAGE_BYTES = 64 << 20
START_S = 90.0
STOP_S = 20.0

DATA_DIRECTORY = 'data'
PROPERTIES_FILE = 'server.properties'
LOG_FILE = 'kafka.log'
STATE = 'broker.json'

# Deleted topics free their disk space after a second, not after a minute; a request may be
# larger than the largest message.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes={message_bytes}
replica.fetch.max.bytes={message_bytes}
socket.request.max.bytes={request_bytes}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=1000
"""


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(port: int, *, host: str = HOST, timeout_s: float = 2.0) -> bool:
    """Say whether a Kafka there knows itself as a broker: it answers a Metadata request.

    The request is the first version with a controller, asking for no topic
    (https://kafka.apache.org/protocol#The_Messages_Metadata).
    """
    client = b'streambench'
    body = struct.pack('>hhih', 3, 1, 1, len(client)) + client + struct.pack('>i', 0)
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as link:
            link.settimeout(timeout_s)
            link.sendall(struct.pack('>i', len(body)) + body)
            with link.makefile('rb') as stream:
                head = stream.read(12)
    except OSError:
        return False
    if len(head) < 12:
        return False
    _, correlation, brokers = struct.unpack('>iii', head)
    return bool(correlation == 1 and brokers > 0)


def prepare(
    directory: Path, *, port: int, settings: Mapping[str, object] = MappingProxyType({})
) -> list[str]:
    """Write the configuration of a broker, format its storage, and return its command.

    Args:
        directory: An existing directory for configuration and data.
        port: Where it will listen.
        settings: More of its properties, or others.

    Raises:
        ConfigError: If there is no Java or there are no jars.
        BrokerError: If the storage can't be formatted.
    """
    java, jars = find_java(), find_jars()
    data = directory / DATA_DIRECTORY
    properties = directory / PROPERTIES_FILE
    properties.write_text(
        PROPERTIES.format(
            host=HOST,
            port=port,
            controller_port=free_port(),
            data=data,
            message_bytes=MESSAGE_BYTES,
            request_bytes=2 * MESSAGE_BYTES,
        )
        + ''.join(f'{key}={value}\n' for key, value in settings.items()),
        encoding='utf-8',
    )
    run = [java, '-cp', f'{jars}{os.sep}*', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn']
    identity = 'c3RyZWFtYmVuY2gtMDAwMQ'
    shape = [*run, '-Xmx128m', '-XX:TieredStopAtLevel=1', 'kafka.tools.StorageTool', 'format']
    done = subprocess.run(
        [*shape, '--ignore-formatted', '-t', identity, '-c', str(properties)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or 'no reason given').splitlines()[-1]
        raise BrokerError(
            f'Kafka could not format its storage in {str(directory)!r} ({reason}): '
            'give another directory, and Java 17 or newer.'
        )
    return [*run, '-Xms256m', '-Xmx1g', 'kafka.Kafka', str(properties)]


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers(port):
        if process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            continue
        lines = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
        causes = [line for line in lines if 'Exception' in line or 'ERROR' in line] or lines
        raise BrokerError(
            f'Kafka did not start on port {port} ({causes[-1] if causes else "no reason given"}): '
            f'see its log, and that the port is free.'
        )


class LocalKafka:
    """A broker in a private directory that ends with this process at the latest.

    Attributes:
        port: Where it listens.
    """

    def __init__(
        self, *, port: int | None = None, settings: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        self.port = port or free_port()
        self._settings = settings
        self._directory: Path | None = None
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'{HOST}:{self.port}'

    def start(self) -> Self:
        """Start it; with the data it had, if it was killed.

        Raises:
            ConfigError: If there is no Java or there are no jars.
            BrokerError: If it doesn't start.
        """
        try:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix='streambench-kafka-'))
                self._command = prepare(self._directory, port=self.port, settings=self._settings)
            log = self._directory / LOG_FILE
            with log.open('ab') as output:
                self._process = subprocess.Popen(
                    leash.command(*self._command, remove=str(self._directory)),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            _await_answer(self._process, self.port, log)
        except BaseException:
            self.stop()
            raise
        return self

    def kill(self) -> None:
        """End it as a crash would, and keep its data."""
        if self._process is not None:
            # The leash leads a group that holds the broker and nothing else.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it and remove its data; again is allowed."""
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *exception: object) -> None:
        """Stop it."""
        self.stop()


@dataclass(frozen=True, kw_only=True)
class Running:
    """A broker that was started to outlive its starter."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'{HOST}:{self.port}'


def default_directory() -> Path:
    """Return where a broker that outlives its starter is kept."""
    return cache_directory() / 'broker'


def running(directory: Path) -> Running | None:
    """Return the broker that runs in a directory, or None."""
    try:
        found = Running(**json.loads((directory / STATE).read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return None
    # The number may belong to another program by now.
    words = subprocess.run(
        ['ps', '-ww', '-o', 'command=', '-p', str(found.pid)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return found if str(directory.resolve() / PROPERTIES_FILE) in words.stdout else None


def start(directory: Path, *, port: int = DEFAULT_PORT) -> Running:
    """Start a broker that outlives this process; one that runs there already is returned.

    Args:
        directory: Where its configuration, data and log go; made if missing.
        port: Where it shall listen.

    Raises:
        ConfigError: If there is no Java, there are no jars, or the port is taken.
        BrokerError: If it doesn't start.
    """
    found = running(directory)
    if found is not None:
        if found.port != port:
            raise ConfigError(
                f'--port: the broker in {str(directory)!r} listens on {found.port}, not on {port}: '
                'stop it first, or give another --directory.'
            )
        return found
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                f'--port: {port} can not be used ({error.strerror}): give another.'
            ) from None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'--directory: {str(directory)!r} can not be made ({error.strerror}): give another.'
        ) from None
    _remove_data(directory)
    try:
        command = prepare(directory.resolve(), port=port)
        log = directory / LOG_FILE
        with log.open('ab') as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        found = Running(pid=process.pid, port=port)
        (directory / STATE).write_text(json.dumps(asdict(found)), encoding='utf-8')
        _await_answer(process, port, log)
    except BaseException:
        stop(directory)
        raise
    # It is left alone on purpose; Popen would warn.
    process.returncode = 0
    return found


def stop(directory: Path) -> bool:
    """End the broker of a directory and remove its data; say whether one ran."""
    found = running(directory)
    if found is not None:
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_S
        while running(directory) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    _remove_data(directory)
    with suppress(OSError):
        directory.rmdir()
    return found is not None


def _remove_data(directory: Path) -> None:
    """Remove what a broker left; the directory may hold other things, which stay."""
    shutil.rmtree(directory / DATA_DIRECTORY, ignore_errors=True)
    for name in (PROPERTIES_FILE, LOG_FILE, STATE):
        (directory / name).unlink(missing_ok=True)
