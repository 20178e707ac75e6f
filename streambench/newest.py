"""The newest run directory of several, for who named the directory that holds them."""

from __future__ import annotations

from pathlib import Path


def newest_hint(root: Path, *, result: str) -> str:
    """Return which of the directories under `root` to name, as the end of a sentence; empty if none is.

    Args:
        root: What was named.
        result: File or directory that a run directory has.
    """
    try:
        found = [path for path in root.iterdir() if (path / result).exists()]
        newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    except OSError:
        return ''
    if newest is None:
        return ''
    return f'name one of the run directories in it, of which {str(newest)!r} is the newest'
