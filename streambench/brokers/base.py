"""What every broker can do: open a publisher and a subscriber of one topic.

A broker's settings class is the plugin: its fields are the options, its methods open what they
describe. Frames go in as pieces and come out as bytes; nothing here knows what is in them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, Self

from streambench.errors import BrokerError, ConfigError
from streambench.kinds import assignments, text
from streambench.options import option
from streambench.plugin import ServedPlugin

RECONNECT_S = 5.0

Acked = Callable[[int | None, BrokerError | None], None]


class Publisher(Protocol):
    """The sending end of a topic."""

    reconnects: int

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Hand a frame to the broker's client; return when it can take another.

        Args:
            parts: The frame in pieces.
            acked: Called on the loop when the broker has answered, with the number of receivers
                (None where the broker doesn't tell) or with what went wrong; then it is unknown
                whether the message was delivered.
            more: Whether another frame follows at once, so that this one may leave with it.

        Raises:
            BrokerError: If the broker is gone and doesn't come back.
        """
        ...

    async def flush(self) -> None:
        """Return when every frame has been answered."""
        ...


class Subscriber(Protocol):
    """The receiving end of a topic.

    Attributes:
        reconnects: How often the connection was made anew.
        on_gap: Called after a reconnection that may have lost what was published before it.
    """

    reconnects: int
    on_gap: Callable[[], None]

    async def receive(self) -> bytes:
        """Return the next frame.

        Raises:
            BrokerError: If the broker is gone and doesn't come back.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class BrokerPlugin(ServedPlugin):
    """Settings of a broker, able to open the ends of a topic."""

    @property
    def title(self) -> str:
        """What the broker is and where, for errors."""
        found = self.address()
        return f'{self.name} broker' + (f' at {found[0]}:{found[1]}' if found else '')

    def for_workers(self) -> Self:
        """Return these settings without what only this host has."""
        return self

    @abstractmethod
    def open_publisher(self, topic: str) -> AbstractAsyncContextManager[Publisher]:
        """Open the sending end of a topic."""

    @abstractmethod
    def open_subscriber(self, topic: str) -> AbstractAsyncContextManager[Subscriber]:
        """Open the receiving end; enters only when the broker has confirmed it.

        Whatever is published afterwards is delivered or counted as lost.
        """

    async def server_cpu_s(self) -> float | None:
        """Return the CPU time that the server has taken so far; None where it doesn't tell."""
        return None


@dataclass(frozen=True, kw_only=True)
class ServerBrokerPlugin(BrokerPlugin):
    """Settings of a broker that is a server with a client library."""

    stream_option: tuple[tuple[str, str], ...] = option(
        "Settings of the broker's client, checked by name.",
        assignments(),
        default=(),
        group='broker',
    )
    stream_password: str | None = option(
        'Password of the broker, from $STREAMBENCH_STREAM_PASSWORD.',
        text(),
        group='broker',
        secret=True,
    )

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return (
            'give --stream-servers an address that they can reach (embedded servers: --bind-interface)'
        )


def split_address(servers: str, *, default_port: int, flag: str) -> tuple[str, int]:
    """Return host and port of `HOST[:PORT]`.

    Raises:
        ConfigError: If it has another form.
    """
    host, colon, port = servers.rpartition(':')
    if not colon:
        return servers, default_port
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f'{flag}: {servers!r} must have the form HOST:PORT.')
    return host.strip('[]'), int(port)
