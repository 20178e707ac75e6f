"""What an option is: its name, its sentence, how its text is read, and where it may vary.

The command line, TOML files, the library and the tables of README are derived from fields declared
with `option`; the options themselves stand in `config` and in the plugins. A value is accepted as text
(from a command line) or as what TOML and Python give.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from streambench.errors import ConfigError

UNITS_BYTES = {
    '': 1,
    'b': 1,
    'kb': 10**3,
    'mb': 10**6,
    'gb': 10**9,
    'kib': 2**10,
    'mib': 2**20,
    'gib': 2**30,
    'tb': 10**12,
    'tib': 2**40,
}

# What no machine has: larger values are slips, and would end in an overflow somewhere.
MAX_COUNT = 2**63 - 1
MAX_NUMBER = 1e9

_SECRET_WORDS = ('password', 'passwd', 'secret', 'token', 'credential')

RUN = 'run'
SESSION = 'session'
PLAN = 'plan'


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a value is read.

    Attributes:
        metavar: What stands for the value in help.
        parse: Turns a value into the option's type or raises ValueError with what it must be.
        choices: The words that are allowed, if they are few.
    """

    metavar: str
    parse: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


def _number(value: Any) -> int | float:
    """Return a number as it was meant: whole ones stay whole, however large."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('must be a number')
    try:
        number = int(value) if isinstance(value, int | str) else value
    except ValueError:
        try:
            number = float(value)
        except ValueError:
            raise ValueError('must be a number') from None
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError('must be a finite number')
    return number


def count(*, minimum: int = 1, maximum: int = MAX_COUNT) -> Kind:
    """Return the kind of whole numbers from `minimum` to `maximum`."""

    def parse(value: Any) -> int:
        number = _number(value)
        if number != int(number) or number < minimum:
            raise ValueError(f'must be a whole number of at least {minimum}')
        if number > maximum:
            raise ValueError(f'must be a whole number of at most {maximum}')
        return int(number)

    return Kind(metavar='INT', parse=parse)


def number(
    *,
    minimum: float = 0.0,
    maximum: float = MAX_NUMBER,
    above: bool = False,
    metavar: str = 'NUMBER',
) -> Kind:
    """Return the kind of numbers from `minimum`, or `above` it, to `maximum`."""

    def parse(value: Any) -> float:
        result = _number(value)
        if result < minimum or (above and result == minimum):
            raise ValueError(f'must be {"above" if above else "at least"} {minimum:g}')
        if result > maximum:
            raise ValueError(f'must be at most {maximum:g}')
        return float(result)

    return Kind(metavar=metavar, parse=parse)


def seconds(*, above: bool = False) -> Kind:
    """Return the kind of durations in seconds."""
    return number(above=above, metavar='SECONDS')


def size(*, minimum: int = 0) -> Kind:
    """Return the kind of sizes in bytes: `1000`, `100kB`, `1MB`, `1MiB`."""

    def parse(value: Any) -> int:
        match = re.fullmatch(r'\s*(-?[0-9.]+(?:e[0-9]+)?)\s*([a-zA-Z]*)\s*', str(value))
        unit = UNITS_BYTES.get(match[2].lower()) if match else None
        if match is None or unit is None or isinstance(value, bool):
            raise ValueError('must be a number of bytes such as 100000, 100kB or 1MB')
        total = _number(match[1]) * unit
        if total != int(total) or total < minimum:
            raise ValueError(f'must be a whole number of bytes of at least {minimum}')
        if total > MAX_COUNT:
            raise ValueError(f'must be at most {MAX_COUNT} bytes')
        return int(total)

    return Kind(metavar='BYTES', parse=parse)


def choice(*words: str) -> Kind:
    """Return the kind of a word out of a few."""

    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f'must be one of {", ".join(words)}')
        return str(value)

    return Kind(metavar='{' + ','.join(words) + '}', parse=parse, choices=words)


def text(metavar: str = 'TEXT') -> Kind:
    """Return the kind of texts that aren't empty."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or '\0' in value:
            raise ValueError('must be a text that is not empty')
        return value

    return Kind(metavar=metavar, parse=parse)


def address(*, several: bool = False) -> Kind:
    """Return the kind of `HOST[:PORT]`, or of `several` of them with commas between.

    A URL is refused because it may hold a password, which would be recorded.
    """

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or '\0' in value:
            raise ValueError('must have the form HOST:PORT')
        if '@' in value or '://' in value:
            raise ValueError(
                'must have the form HOST:PORT, without a URL or a password, which would be recorded: '
                'put a password into the environment or the URL into a file'
            )
        if ',' in value and not several:
            raise ValueError('must be one address of the form HOST:PORT')
        for entry in value.split(','):
            host, colon, port = entry.strip().rpartition(':')
            if colon and (not host or not port.isdecimal() or not 0 < int(port) < 65536):
                raise ValueError('must have the form HOST:PORT with a port from 1 to 65535')
            if not entry.strip():
                raise ValueError('must have the form HOST:PORT')
        return value

    return Kind(metavar='HOST:PORT', parse=parse)


def host() -> Kind:
    """Return the kind of the name of a host; its port stands in another option."""
    parse_address = address().parse

    def parse(value: Any) -> str:
        plain = isinstance(value, str) and '/' not in value and '@' not in value
        if plain and value.count(':') == 1:
            raise ValueError('must be a host alone: its port is an option of its own')
        if plain and value.count(':') > 1:
            return str(value)
        return str(parse_address(value))

    return Kind(metavar='HOST', parse=parse)


def port() -> Kind:
    """Return the kind of a TCP port."""
    return count(maximum=65535)


def switch() -> Kind:
    """Return the kind of `true` and `false`."""

    def parse(value: Any) -> bool:
        word = str(value).lower()
        if word not in ('true', 'false', 'yes', 'no', 'on', 'off'):
            raise ValueError('must be true or false')
        return word in ('true', 'yes', 'on')

    return Kind(metavar='{true,false}', parse=parse)


def assignments() -> Kind:
    """Return the kind of a list of KEY=VALUE, as a tuple of pairs."""

    def parse(value: Any) -> tuple[tuple[str, str], ...]:
        entries = [value] if isinstance(value, str) else value
        if isinstance(entries, dict):
            entries = list(entries.items())
        if not isinstance(entries, list | tuple):
            raise ValueError('must have the form KEY=VALUE')
        pairs = []
        for entry in entries:
            if isinstance(entry, tuple | list) and len(entry) == 2:
                pairs.append((str(entry[0]), str(entry[1])))
                continue
            key, equals, item = str(entry).partition('=')
            if not key or not equals:
                raise ValueError('must have the form KEY=VALUE')
            pairs.append((key, item))
        for key, _ in pairs:
            if any(word in key.lower() for word in _SECRET_WORDS):
                raise ValueError(
                    f'must not hold {key}, which would be recorded: put it into the environment or '
                    'into a URL file'
                )
        return tuple(pairs)

    return Kind(metavar='KEY=VALUE', parse=parse)


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
        if isinstance(value, list | dict) and self.kind.metavar != 'KEY=VALUE':
            raise ConfigError(
                f'{self.flag}: {value!r} must be a single value; several of them go into [sweep].'
            )
        try:
            return self.kind.parse(value)
        except ValueError as error:
            raise ConfigError(f'{self.flag}: {_shown(value)} {error}.') from None


def _shown(value: Any) -> str:
    """Return a value for an error: short, and without what may be a password."""
    pairs = value if isinstance(value, list | tuple) else [value]
    words = [str(item).partition('=')[0] for item in pairs]
    if any(secret in word.lower() for word in words for secret in _SECRET_WORDS):
        return '=… and '.join(words) + '=…'
    text = re.sub(r'[^/@\s]*@', '…@', value) if isinstance(value, str) else value
    shown = repr(text)
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
