"""What a check finds: a figure that is stored and isn't what the rows say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One disagreement.

    Attributes:
        file: Where the figure is stored.
        run: Number of the run; None where the file as a whole is meant.
        column: Its column; empty where the file as a whole is meant.
        stored: What stands there; None if nothing does.
        recomputed: What must stand there; None for nothing, or what it must be, in words.
        source: What says so.
    """

    file: str
    run: int | None
    column: str
    stored: Any
    recomputed: Any
    source: str
