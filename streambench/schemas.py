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
    found = environment or {}
    wrote, revision = found.get('streambench'), found.get('git_revision')
    # Between two releases the version alone doesn't tell.
    exactly = f' of revision {revision}' if wrote == __version__ and revision else ''
    writer = f'streambench {wrote}{exactly}, which' if wrote else 'the streambench that'
    *first, last = map(str, reads)
    known = f'{", ".join(first)} and {last}' if first else last
    number = str(version)
    newer = number.isdecimal() and int(number) > max(reads)
    other = f'{writer} wrote it' + (', or a newer one' if newer else '')
    return ConfigError(
        f'{where} is of schema version {number!r}, and this streambench ({__version__}) {does}s '
        f'version {known} only; {does} it with {other}.'
    )
