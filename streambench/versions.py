"""Which streambench workers elsewhere have: another one would run another task than the one measured.

What asks for it holds no name of ours, so that a worker without streambench can unpack it.
"""

from __future__ import annotations

from typing import Any

from streambench import __version__, message
from streambench.errors import in_one_line

# For `eval` on a worker.
VERSIONS = (
    "(__import__('streambench').__version__, "
    "__import__('streambench.message', fromlist=['VERSION']).VERSION)"
)


def other_version(found: Any) -> str:
    """Return what is to be said of workers after what they are, or nothing if they have this version.

    Args:
        found: What evaluating `VERSIONS` there came to, perhaps an exception.
    """
    if found == (__version__, message.VERSION):
        return ''
    if isinstance(found, ImportError):
        there = f'no streambench ({in_one_line(found)})'
    elif isinstance(found, Exception):
        there = f'given no version of a streambench ({in_one_line(found)})'
    else:
        there = f'streambench {found[0]} (frames {found[1]})'
    return (
        f'has {there}, and here it is {__version__} (frames {message.VERSION}): install the same '
        'version on both sides.'
    )
