"""`streambench check RUN_DIR`: whether its figures are what its rows say."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streambench.cli.terminal import aside, say
from streambench.errors import EXIT_INTEGRITY, EXIT_OK
from streambench.tables import CSV, TABLE, Cell, Column, add_format_option, render

if TYPE_CHECKING:
    from streambench.audit import Audit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    parser.description = (
        'Compute every figure in results.csv and summary.json again from items, series and '
        'config.toml, hold the two files against each other and the rows against the laws that they '
        'fulfil; say where they differ, and what nothing determines. Exit code 4 if something differs.'
    )
    parser.add_argument('directory', metavar='RUN_DIR', help='the run directory')
    add_format_option(parser)


def run(namespace: argparse.Namespace) -> int:
    """Print what was found and return the exit code.

    Raises:
        ConfigError: If the directory can't be read, or is of another schema version.
    """
    from streambench.audit import audit
    from streambench.run_directory import open_run_directory

    with open_run_directory(namespace.directory, does='check') as directory:
        found = audit(directory)
    notes = [*audit_notes(found), *_other_code(found, directory.environment)]
    say(differences_table(found, form=namespace.format, notes=notes))
    if namespace.format == CSV:
        for note in notes:
            aside(note)
    return EXIT_INTEGRITY if found.differences else EXIT_OK


def _other_code(found: Audit, environment: Mapping[str, Any]) -> list[str]:
    """Return that what differs may be the doing of other code than wrote the results."""
    from streambench import __version__
    from streambench.environment import revision

    wrote = environment.get('streambench'), environment.get('git_revision')
    ours = __version__, revision()
    if not found.differences or None in wrote or None in ours or wrote == ours:
        return []
    return [
        f'written by streambench {wrote[0]} of revision {wrote[1]}, and this is {ours[0]} of revision '
        f'{ours[1]}: what differs may differ in the code'
    ]


def audit_notes(found: Audit) -> list[str]:
    """Return what a check came to in sentences."""
    from streambench.audit import free_columns

    number = len(found.differences)
    runs = f'{found.runs} run{"" if found.runs == 1 else "s"}'
    notes = [
        f'{number} difference{"" if number == 1 else "s"} in {runs}'
        if number
        else f'no difference in {runs}',
        f'{found.recomputed} cells of results.csv and summary.json were computed again; items, '
        'series and the stalls of the loop were held against each other and the schedule',
    ]
    if found.undetermined:
        notes.append(
            'compared between the two files only, since nothing else determines them: '
            + ', '.join(found.undetermined)
        )
    free = [f'{", ".join(names)} ({kind})' for kind, names in free_columns().items()]
    notes.append(f'not checked, since nothing determines them: {"; ".join(free)}')
    return [*notes, *found.notes]


def differences_table(found: Audit, *, form: str, notes: Sequence[str]) -> str:
    """Return the differences as a table, or only the notes where there is none to be seen.

    Args:
        found: What the check came to.
        form: One of `tables.FORMATS`.
        notes: Sentences below it.
    """
    columns = [
        Column(name='file', head='file', left=True),
        Column(name='run', head='run'),
        Column(name='column', head='column', left=True),
        Column(name='stored', head='stored', left=True),
        Column(name='recomputed', head='recomputed', left=True),
        Column(name='source', head='by', left=True),
    ]
    rows = [
        [
            entry.file,
            None if entry.run is None else Cell(entry.run, str(entry.run + 1)),
            entry.column,
            _exact(entry.stored),
            _exact(entry.recomputed),
            entry.source,
        ]
        for entry in found.differences
    ]
    if not rows and form == TABLE:
        return '\n'.join(notes)
    return render(columns, rows, form=form, notes=notes)


def _exact(value: Any) -> Any:
    """Return a figure with all of its digits: it is one of them that differs."""
    return Cell(value, str(value)) if isinstance(value, float) else value
