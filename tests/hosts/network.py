"""Hosts of their own on one machine: network namespaces on a switch, with names, addresses and links.

Each has its own TCP stack, loopback, routes and host name, and if wanted a clock of its own; processor,
memory and disk are those of the machine. No packet leaves: the switch is a bridge in a namespace too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from streambench import leash
from streambench.servers.redis import find_server

INSTALL = 'apt-get install --no-install-recommends iproute2'
# Set aside for benchmarks of networks, RFC 2544.
NETWORK = '198.18.0'
REDIS_PORT = 6379
START_S = 30.0
POLL_S = 0.05
# What waits before a narrow link, in time; TCP fills it.
QUEUE = '50ms'


def missing() -> str:
    """Return why there can be no hosts here, or nothing."""
    for program in ('ip', 'tc'):
        if shutil.which(program) is None:
            return f'there is no program {program} here: `{INSTALL}`'
    if os.geteuid() != 0:
        return 'network namespaces are made by root'
    try:
        with Network('probe') as network:
            network.narrow('probe', 100)
    except OSError as error:
        return f'this kernel or container lets nobody make network namespaces: {error}'
    return ''


def _run(*words: str) -> None:
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise OSError(f'{" ".join(words)}: {done.stdout.strip()}')


@dataclass(frozen=True, kw_only=True)
class Host:
    """One of the hosts.

    Attributes:
        name: Its host name.
        address: Its address.
        namespace: Name of its network namespace.
    """

    name: str
    address: str
    namespace: str

    def command(self, *words: str, clock_s: int = 0) -> list[str]:
        """Return the command that runs another on this host, in the same process.

        Args:
            words: The other.
            clock_s: By how much a monotonic clock of its own is ahead of this machine's.
        """
        unshare = ['unshare', '--uts']
        if clock_s:
            unshare += ['--time', '--fork', '--kill-child', '--monotonic', str(clock_s)]
        named = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
        return [
            *('ip', 'netns', 'exec', self.namespace, *unshare),
            *('sh', '-c', named, self.name, *words),
        ]


class Network:
    """Hosts on a switch, as long as its `with` block.

    Args:
        names: Their host names.
    """

    def __init__(self, *names: str) -> None:
        prefix = f'streambench-{os.getpid()}'
        self._switch = f'{prefix}-switch'
        self._hosts = {
            name: Host(name=name, address=f'{NETWORK}.{number}', namespace=f'{prefix}-{name}')
            for number, name in enumerate(names, start=1)
        }

    def __getitem__(self, name: str) -> Host:
        """Return a host."""
        return self._hosts[name]

    def __enter__(self) -> Self:
        """Make the namespaces and their links."""
        try:
            _run('ip', 'netns', 'add', self._switch)
            self._in(self._switch, 'ip', 'link', 'add', 'switch', 'type', 'bridge')
            self._in(self._switch, 'ip', 'link', 'set', 'switch', 'up')
            for name, host in self._hosts.items():
                _run('ip', 'netns', 'add', host.namespace)
                link = ('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', f'to-{name}')
                self._in(host.namespace, 'ip', *link, 'netns', self._switch)
                self._in(self._switch, 'ip', 'link', 'set', f'to-{name}', 'master', 'switch', 'up')
                self._in(host.namespace, 'ip', 'link', 'set', 'lo', 'up')
                self._in(host.namespace, 'ip', 'address', 'add', f'{host.address}/24', 'dev', 'eth0')
                self._in(host.namespace, 'ip', 'link', 'set', 'eth0', 'up')
                self._in(host.namespace, 'ip', 'route', 'add', 'default', 'dev', 'eth0')
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove them; what still runs there loses its network."""
        self._remove()

    def _remove(self) -> None:
        for namespace in (*(host.namespace for host in self._hosts.values()), self._switch):
            with suppress(OSError):
                _run('ip', 'netns', 'delete', namespace)

    def _in(self, namespace: str, *words: str) -> None:
        _run('ip', 'netns', 'exec', namespace, *words)

    def narrow(self, name: str, mbit: float) -> None:
        """Let a host's link carry no more than so many megabits per second, each way."""
        rate = f'{mbit:g}mbit'
        for namespace, device in (
            (self._hosts[name].namespace, 'eth0'),
            (self._switch, f'to-{name}'),
        ):
            bucket = ('root', 'tbf', 'rate', rate, 'burst', '256kb', 'latency', QUEUE)
            self._in(namespace, 'tc', 'qdisc', 'replace', 'dev', device, *bucket)

    def refuse(self, name: str, towards: str) -> None:
        """Let a host know no way to another."""
        route = ('route', 'add', 'unreachable', self._hosts[towards].address)
        self._in(self._hosts[name].namespace, 'ip', *route)


class RedisHost:
    """A Redis server on a host, as long as its `with` block.

    Args:
        host: Where.
        port: Its port.
    """

    def __init__(self, host: Host, *, port: int = REDIS_PORT) -> None:
        self.host = host.address
        self.port = str(port)
        self.address = f'{self.host}:{self.port}'
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; return when it answers."""
        words = [find_server(), '--bind', self.host, '--port', self.port, '--save', '']
        # Nobody else is on its network.
        words += ['--protected-mode', 'no', '--client-output-buffer-limit', 'pubsub', '0', '0', '0']
        self._process = subprocess.Popen(
            leash.command(*self._host.command(*words)), stdout=subprocess.DEVNULL
        )
        ask = self._host.command('bash', '-c', f'exec 3<>/dev/tcp/{self.host}/{self.port}')
        deadline = time.monotonic() + START_S
        while subprocess.run(ask, capture_output=True, check=False).returncode:
            assert self._process.poll() is None, 'the Redis server has ended'
            assert time.monotonic() < deadline, 'the Redis server does not start'
            time.sleep(POLL_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
