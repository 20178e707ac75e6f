"""The kinds of values that options take, and how each is read.

A value is accepted as text (from a command line) or as what TOML and Python give.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

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

PASSWORD_REMEDY = (
    'set $STREAMBENCH_STREAM_PASSWORD or $STREAMBENCH_PS_PASSWORD, or name a file with the URL by '
    '--stream-url-file or --ps-url-file'
)

URL_WITH_PASSWORD = re.compile(r'://[^/@\s]*:[^/@\s]+@')
SECRET_WORDS = ('password', 'passwd', 'secret', 'token', 'credential')


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a value is read.

    Attributes:
        metavar: What stands for the value in help.
        parse: Turns a value into the option's type or raises ValueError with what it must be.
        choices: The words that are allowed, if they are few.
        several: Whether a value is made of several words, which a flag takes together.
        table: Whether a value may be a table of TOML or a dictionary.
        alone: The value of a flag that stands alone, if it may.
    """

    metavar: str
    parse: Callable[[Any], Any]
    choices: tuple[str, ...] = ()
    several: bool = False
    table: bool = False
    alone: str | None = None


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


def share() -> Kind:
    """Return the kind of shares above 0: `0.05` or `5%`."""
    part = number(maximum=1.0, above=True)

    def parse(value: Any) -> float:
        text = str(value).strip()
        try:
            if text.endswith('%'):
                return float(number(maximum=100.0, above=True).parse(text[:-1])) / 100
            return float(part.parse(value))
        except ValueError:
            raise ValueError('must be a share above 0 and at most 1, such as 5% or 0.05') from None

    return Kind(metavar='SHARE', parse=parse)


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


def _refuse_url(value: str, *, form: str) -> None:
    if '@' in value or '://' in value:
        raise ValueError(
            f'must have the form {form}, since a URL or its password would be recorded: '
            f'{PASSWORD_REMEDY}'
        )


def address(*, several: bool = False) -> Kind:
    """Return the kind of `HOST[:PORT]`, or of `several` of them with commas between.

    A URL is refused because it may hold a password, which would be recorded.
    """

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or '\0' in value:
            raise ValueError('must have the form HOST:PORT')
        _refuse_url(value, form='HOST:PORT')
        if ',' in value and not several:
            raise ValueError('must be one address of the form HOST:PORT')
        for entry in value.split(','):
            host, colon, port = entry.strip().rpartition(':')
            numbered = re.fullmatch('[0-9]{1,5}', port) and 0 < int(port) < 65536
            if colon and not (host and numbered):
                raise ValueError('must have the form HOST:PORT with a port from 1 to 65535')
            if not entry.strip():
                raise ValueError('must have the form HOST:PORT')
        return value

    return Kind(metavar='HOST:PORT', parse=parse)


def host() -> Kind:
    """Return the kind of the name of a host; its port stands in another option."""
    parse_text = text().parse

    def parse(value: Any) -> str:
        name = str(parse_text(value))
        _refuse_url(name, form='HOST')
        if name.count(':') == 1 or ',' in name or '/' in name:
            raise ValueError('must be the name of one host: its port is an option of its own')
        return name

    return Kind(metavar='HOST', parse=parse)


def port() -> Kind:
    """Return the kind of a TCP port."""
    return count(maximum=65535)


def walltime() -> Kind:
    """Return the kind of durations as batch systems write them: `1:30:00`."""

    def parse(value: Any) -> str:
        match = re.fullmatch(r'([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])', str(value))
        if match is None:
            raise ValueError('must have the form HOURS:MINUTES:SECONDS, as 1:30:00')
        if not int(match[1]) and not int(match[2]):
            raise ValueError('must be at least 0:01:00')
        return str(value)

    return Kind(metavar='H:MM:SS', parse=parse)


def switch() -> Kind:
    """Return the kind of `true` and `false`."""

    def parse(value: Any) -> bool:
        word = str(value).lower()
        if word not in ('true', 'false', 'yes', 'no', 'on', 'off'):
            raise ValueError('must be true or false')
        return word in ('true', 'yes', 'on')

    return Kind(metavar='{true,false}', parse=parse, alone='true')


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
        for key, item in pairs:
            secret = any(word in key.lower() for word in SECRET_WORDS)
            if secret or URL_WITH_PASSWORD.search(item):
                raise ValueError(f'must not hold {key}, which would be recorded: {PASSWORD_REMEDY}')
        return tuple(pairs)

    return Kind(metavar='KEY=VALUE', parse=parse, several=True, table=True)


def uuids() -> Kind:
    """Return the kind of one or more UUIDs, as a tuple of texts."""

    def parse(value: Any) -> tuple[str, ...]:
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list | tuple) or not entries:
            raise ValueError('must be one or more UUIDs')
        found = []
        for entry in entries:
            try:
                found.append(str(UUID(str(entry))))
            except ValueError:
                raise ValueError('must be one or more UUIDs') from None
        return tuple(found)

    return Kind(metavar='UUID', parse=parse, several=True)


def json_object() -> Kind:
    """Return the kind of a JSON object, as its text."""

    def parse(value: Any) -> str:
        try:
            found = json.loads(value) if isinstance(value, str) else value
            if not isinstance(found, dict):
                raise ValueError
            return json.dumps(found, sort_keys=True, allow_nan=False)
        except (ValueError, TypeError):
            raise ValueError('must be a JSON object such as {"port": 7000}') from None

    return Kind(metavar='JSON', parse=parse, table=True)
