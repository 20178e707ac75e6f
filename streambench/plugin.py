"""What every plugin says of itself, and what those say that talk to a server."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Self

from streambench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Plugin(ABC):
    """Settings of a broker, connector or executor, able to open what they describe.

    Attributes:
        name: Registry name.
        summary: One sentence for `streambench list`.
        tested: Whether the project's own tests run it, and how far.
        packages: Modules that must be importable.
        install: What to install if they aren't.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tested: ClassVar[str] = ''
    packages: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ''


@dataclass(frozen=True, kw_only=True)
class ServedPlugin(Plugin):
    """A plugin that may need a server.

    Attributes:
        in_process: Whether what it holds ends at the border of this process.
    """

    in_process: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What it is and where, for errors."""
        found = self.address()
        return self.name + (f' at {found[0]}:{found[1]}' if found else '')

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return f'see that {self.name} can be used where the workers are'

    @property
    def needs_redis_server(self) -> bool:
        """Whether no address was given and an embedded Redis is to be started."""
        return False

    @property
    def only_here(self) -> str:
        """Address of a server that will be started where no other host reaches it, if one will be."""
        return ''

    def at(self, host: str, port: int, password: str) -> Self:
        """Return these settings for a server that was started for them."""
        raise ConfigError(f'{self.name} has no embedded server at {host}:{port}: give it an address.')

    def address(self) -> tuple[str, int] | None:
        """Return where its server is, or None if it has none."""
        return None
