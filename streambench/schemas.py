"""Which streambench reads which version of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streambench import __version__
from streambench.errors import ConfigError


def other_version(
    where: str,
    version: object,
    *,
    does: str,
    reads: Sequence[int],
    environment: Mapping[str, Any] | None,
) -> ConfigError:
    """Return the error that says which streambench reads what this one doesn't.

    Args:
        where: What is of the other version, as the user named it.
        version: Schema version that it states.
        does: What this streambench would do with it, as a verb.
        reads: Versions with which it does that.
        environment: Content of environment.json beside it, which names the writer.
    """
    wrote = (environment or {}).get('streambench')
    writer = f'streambench {wrote}, which' if wrote else 'the streambench that'
    known = ' and '.join(map(str, reads))
    number = str(version)
    newer = number.isdecimal() and int(number) > max(reads)
    other = f'{writer} wrote it' + (', or a newer one' if newer else '')
    return ConfigError(
        f'{where} is of schema version {number!r}, and this streambench ({__version__}) {does}s '
        f'version {known} only; {does} it with {other}.'
    )
