"""What an option is: its name, its sentence, how its text is read, and where it may vary.

The command line, TOML files, the library and the tables of README are derived from fields declared
with `option`; the options themselves stand in `config` and in the plugins. A value is accepted as text
(from a command line) or as what TOML and Python give.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from streambench.errors import ConfigError
from streambench.kinds import SECRET_WORDS, Kind

RUN = 'run'
SESSION = 'session'
PLAN = 'plan'


def option(
    doc: str,
    kind: Kind,
    *,
    default: Any = None,
    group: str = '',
    aliases: tuple[str, ...] = (),
    flag: str | None = None,
    scope: str = SESSION,
    axis: bool = False,
    axis_default: tuple[Any, ...] = (),
    required: bool = False,
    secret: bool = False,
) -> Any:
    """Declare an option as a field of a frozen dataclass.

    Args:
        doc: One sentence for help and README.
        kind: How its value is read.
        default: Its value when nobody gives one.
        group: Heading in help.
        aliases: Further spellings on the command line, without dashes.
        flag: The first spelling, where it isn't the name of the field.
        scope: What must begin anew when it varies: `run`, `session`, or nothing can (`plan`).
        axis: Whether the command line takes several values.
        axis_default: The values of the axis when nobody gives one.
        required: Whether the plugin that declares it can't do without.
        secret: Whether it is never written anywhere; given by environment only.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            'doc': doc,
            'kind': kind,
            'group': group,
            'aliases': aliases,
            'flag': flag,
            'scope': scope,
            'axis': axis,
            'axis_default': axis_default,
            'required': required,
            'secret': secret,
        },
    )


@dataclass(frozen=True, slots=True)
class Option:
    """An option as declared, for whoever derives something from it."""

    name: str
    doc: str
    kind: Kind
    default: Any
    group: str
    aliases: tuple[str, ...]
    scope: str
    axis: bool
    axis_default: tuple[Any, ...]
    required: bool
    secret: bool
    flag_name: str | None

    @property
    def flag(self) -> str:
        """The first spelling on the command line."""
        return '--' + (self.flag_name or self.name).replace('_', '-')

    @property
    def flags(self) -> tuple[str, ...]:
        """All spellings on the command line."""
        return (self.flag, *('--' + alias for alias in self.aliases))

    def read(self, value: Any) -> Any:
        """Return a value in the option's type.

        Raises:
            ConfigError: If it can't be; says the flag, the value and what it must be.
        """
        if isinstance(value, str) and any('\ud800' <= letter <= '\udfff' for letter in value):
            raise ConfigError(f'{self.flag}: {value!r} must be text in UTF-8.')
        unfit = (isinstance(value, list) and not self.kind.several) or (
            isinstance(value, dict) and not self.kind.table
        )
        if unfit:
            raise ConfigError(
                f'{self.flag}: {value!r} must be a single value; several of them go into [sweep].'
            )
        try:
            return self.kind.parse(value)
        except ValueError as error:
            shown = 'the given one' if self.secret else _shown(value)
            end = '' if str(error).endswith('?') else '.'
            raise ConfigError(f'{self.flag}: {shown} {error}{end}') from None


def _shown(value: Any) -> str:
    """Return a value for an error: short, and without what may be a password."""
    pairs = value if isinstance(value, list | tuple) else [value]
    words = [str(item).partition('=')[0] for item in pairs]
    if any(secret in word.lower() for word in words for secret in SECRET_WORDS):
        # What is no plain name may hold the password itself, like JSON.
        plain = all(re.fullmatch(r'[\w.-]+', word) for word in words)
        return '=… and '.join(words) + '=…' if plain else 'the given one'
    if all(isinstance(item, str) for item in pairs):
        # As it was written on the command line.
        pairs = [' '.join(pairs)]
    parts = [re.sub(r'[^/@\s]*@', '…@', item) if isinstance(item, str) else item for item in pairs]
    shown = repr(parts[0] if len(parts) == 1 else parts)
    return shown if len(shown) <= 80 else f'{shown[:60]}…{shown[-10:]}'


def _option(entry: Field[Any]) -> Option:
    data = entry.metadata
    return Option(
        name=entry.name,
        doc=data['doc'],
        kind=data['kind'],
        default=None if entry.default is MISSING else entry.default,
        group=data['group'],
        aliases=data['aliases'],
        scope=data['scope'],
        axis=data['axis'],
        axis_default=data['axis_default'],
        required=data['required'],
        secret=data['secret'],
        flag_name=data['flag'],
    )


def options_of(declaring: type[Any]) -> dict[str, Option]:
    """Return the options that a dataclass declares, by name."""
    return {entry.name: _option(entry) for entry in fields(declaring) if 'kind' in entry.metadata}
