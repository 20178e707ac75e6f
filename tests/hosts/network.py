"""Hosts of their own on one machine: network namespaces on a switch, with names, addresses and links.

Each has its own TCP stack, loopback, routes and host name, and if wanted a clock of its own; processor,
memory and disk are those of the machine. No packet leaves: the switch is a bridge in a namespace too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streambench import leash
from streambench.servers.redis import find_server

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALL = 'apt-get install --no-install-recommends iproute2'
# Set aside for benchmarks of networks, RFC 2544.
NETWORK = '198.18.0'
REDIS_PORT = 6379
# Where a server is that stands behind a wire, and where workers find Parsl's interchange then.
BEHIND_PORT = 6380
WORKER_PORT, WIRE_PORT = 54_000, 54_001
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

    def _ends(self, name: str) -> tuple[tuple[str, str], ...]:
        return (self._hosts[name].namespace, 'eth0'), (self._switch, f'to-{name}')

    def narrow(self, name: str, mbit: float) -> None:
        """Let a host's link carry no more than so many megabits per second, each way."""
        rate = f'{mbit:g}mbit'
        for namespace, device in self._ends(name):
            bucket = ('root', 'handle', '1:', 'tbf', 'rate', rate, 'burst', '256kb', 'latency', QUEUE)
            self._in(namespace, 'tc', 'qdisc', 'replace', 'dev', device, *bucket)

    def delay(self, name: str, seconds: float) -> bool:
        """Let what goes over a narrowed link arrive later, each way; return whether this kernel can."""
        wait = ('netem', 'delay', f'{round(seconds * 1e6)}us', 'limit', '100000')
        try:
            for namespace, device in self._ends(name):
                self._in(namespace, 'tc', 'qdisc', 'replace', 'dev', device, 'parent', '1:1', *wait)
        except OSError:
            return False
        return True

    def refuse(self, name: str, towards: str) -> None:
        """Let a host know no way to another."""
        route = ('route', 'add', 'unreachable', self._hosts[towards].address)
        self._in(self._hosts[name].namespace, 'ip', *route)


class Server:
    """A process that listens on a host, as long as its `with` block.

    Args:
        host: Where.
        port: Its port.
        words: The command.
    """

    def __init__(self, host: Host, port: int, words: Sequence[str]) -> None:
        self.host = host.address
        self.port = str(port)
        self.address = f'{self.host}:{self.port}'
        self._host = host
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; return when it takes connections."""
        self._process = subprocess.Popen(
            leash.command(*self._host.command(*self._words)), stdout=subprocess.DEVNULL, cwd=ROOT
        )
        ask = self._host.command('bash', '-c', f'exec 3<>/dev/tcp/{self.host}/{self.port}')
        deadline = time.monotonic() + START_S
        while subprocess.run(ask, capture_output=True, check=False).returncode:
            assert self._process.poll() is None, f'{self._words[0]} has ended'
            assert time.monotonic() < deadline, f'{self._words[0]} does not start'
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


def redis_on(host: Host, *, port: int = REDIS_PORT) -> Server:
    """Return a Redis server on a host."""
    words = [find_server(), '--bind', host.address, '--port', str(port), '--save', '']
    # Nobody else is on its network.
    words += ['--protected-mode', 'no', '--client-output-buffer-limit', 'pubsub', '0', '0', '0']
    return Server(host, port, words)


def wire_on(host: Host, *, port: int, to: int, delay_s: float, only: Host | None = None) -> Server:
    """Return a wire on a host, before another port of it.

    Args:
        host: Where.
        port: Its port.
        to: Port of the server behind it.
        delay_s: How much later arrives what goes through, each way.
        only: The host that is far away; all are, if absent.
    """
    words = ['-m', 'tests.hosts.wires', str(delay_s), only.address if only else 'all']
    words += [f'{host.address}:{port}={host.address}:{to}']
    return Server(host, port, [sys.executable, *words])


@contextmanager
def servers(network: Network, *, delay_s: float) -> Iterator[tuple[Server, Server, dict[str, str]]]:
    """Run broker and store on their hosts, with the dispatcher's host so far away from all others.

    Args:
        network: The hosts; the dispatcher's link is narrowed.
        delay_s: How much later arrives what goes to the dispatcher's host, or comes from it.

    Yields:
        Broker, store, and what the dispatcher's environment must tell `site.py`.
    """
    dispatcher, found = network['dispatcher'], [network['broker'], network['store']]
    variables = {'STREAMBENCH_ADDRESS': dispatcher.address}
    with ExitStack() as stack:
        if not delay_s or network.delay('dispatcher', delay_s):
            broker, store = (stack.enter_context(redis_on(host)) for host in found)
        else:
            # The kernel has no netem.
            for host in found:
                stack.enter_context(redis_on(host, port=BEHIND_PORT))
            broker, store = (
                stack.enter_context(
                    wire_on(host, port=REDIS_PORT, to=BEHIND_PORT, delay_s=delay_s, only=dispatcher)
                )
                for host in found
            )
            wire = wire_on(dispatcher, port=WIRE_PORT, to=WORKER_PORT, delay_s=delay_s)
            stack.enter_context(wire)
            variables['STREAMBENCH_WORKER_PORT'] = str(WORKER_PORT)
            variables['STREAMBENCH_WIRE_PORT'] = wire.port
        yield broker, store, variables
