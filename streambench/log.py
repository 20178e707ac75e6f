"""Structured events: dotted names with values as keys, through the standard logging tree.

A library must not print, so events go to the logger `streambench`, where an embedding program finds
them; the command line adds a file and the terminal.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import structlog

LEVELS = {
    'ERROR': logging.ERROR,
    'WARNING': logging.WARNING,
    # psbench's own levels, between INFO and WARNING; accepted so that its flags keep working.
    'BENCH': logging.INFO,
    'TEST': logging.INFO,
    'INFO': logging.INFO,
    'DEBUG': logging.DEBUG,
}

_SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt='iso', utc=True),
]


def logger() -> Any:
    """Return the logger of streambench's events."""
    return structlog.wrap_logger(
        logging.getLogger('streambench'),
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _handler(handler: logging.Handler, level: str, renderer: Any) -> logging.Handler:
    handler.setLevel(LEVELS[level])
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    return handler


def set_up(
    path: Path, *, file_level: str, terminal_level: str, colors: bool = False, begin: str = ''
) -> None:
    """Send events to a file as JSON lines, and the grave ones to the terminal.

    Args:
        path: The file; appended to.
        file_level: Least level for the file.
        terminal_level: Least level for standard error.
        colors: Whether these are coloured.
        begin: What goes before each, such as what removes a line that moves.
    """
    root = logging.getLogger()
    render = structlog.dev.ConsoleRenderer(colors=colors)
    root.addHandler(
        _handler(
            logging.FileHandler(path, encoding='utf-8', delay=True),
            file_level,
            structlog.processors.JSONRenderer(),
        )
    )
    terminal = _handler(
        logging.StreamHandler(sys.stderr),
        terminal_level,
        lambda *event: begin + render(*event),
    )
    # What a client complains about is told in a sentence of ours; the file has both.
    terminal.addFilter(logging.Filter('streambench'))
    root.addHandler(terminal)
    # A full disk is told once, by the recorder, and not again for each event.
    logging.raiseExceptions = False
    least = min(LEVELS[file_level], LEVELS[terminal_level])
    logging.getLogger('streambench').setLevel(least)
    # Parsl tells fifteen things of every task, on the way that is measured: only to who asks for all.
    root.setLevel(logging.DEBUG if least == logging.DEBUG else logging.WARNING)
