"""`streambench list`: what there is, and whether it can run here."""

from __future__ import annotations

import argparse

from streambench.cli.terminal import say, width
from streambench.errors import EXIT_OK
from streambench.tables import add_format_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    add_format_option(parser)


def run(namespace: argparse.Namespace) -> int:
    """Print the list and return the exit code."""
    from streambench.catalogue import catalogue_text

    say(catalogue_text(form=namespace.format, width=width()))
    return EXIT_OK
