"""From the words of a command line to a command.

Only the command that is named is imported, so that a command's help does not wait for the others.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from streambench import __version__
from streambench.errors import ConfigError
from streambench.loop_monitor.words import HELP as LOOP_HELP

RUN = 'run'
LOOP = 'loop'

# Each with its line of help; a module of the same name adds its arguments and runs it.
COMMANDS = {
    RUN: 'measure; without any flag: embedded Redis, Parsl, two methods, two sizes, two loads',
    'list': 'show every broker, connector and executor, and whether it can run here',
    'compare': 'compare two measurements, run by run: ratio, interval, and whether to believe it',
    'summarize': 'compute the figures of a run directory again, with another warm-up or per second',
    'check': 'compute every figure of a run directory again and say which are not what its rows say',
    # Its words are read by the loop monitor, which knows where those of the program begin.
    LOOP: LOOP_HELP,
}


class _Spellings(argparse.HelpFormatter):
    """All spellings of an option with its value once, folded as everything else in the help."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if len(action.option_strings) < 2 or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        text = f'{", ".join(action.option_strings)} {value}'
        lines = textwrap.wrap(text, self._width - self._current_indent, break_on_hyphens=False)
        return f'\n{" " * self._current_indent}'.join(lines)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Spellings, **settings)
        # argparse takes -1e3 and -5kB for flags, and says that a value is missing.
        self._negative_number_matcher = re.compile(r'-\.?\d')
        self.add_argument('--version', action='version', version=f'streambench {__version__}')

    @property
    def flags(self) -> list[str]:
        """Everything that begins with dashes here."""
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f'{message}; `{self.prog} --help` shows what there is.')


def module_of(command: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f'streambench.cli.{command}')


def parsers(command: str = '', *, others: bool = False) -> tuple[argparse.ArgumentParser, _Parser]:
    """Return the program's parser, and that of a command (or the program's again).

    Args:
        command: The one that is to know its arguments.
        others: Whether to look for plugins of other packages too, which takes a moment.
    """
    top = _Parser(
        prog='streambench', description='Where does the time go in a stream-processing workflow?'
    )
    commands = top.add_subparsers(dest='command', metavar='COMMAND')
    chosen = top
    for name, doc in COMMANDS.items():
        parser = commands.add_parser(name, help=doc, description=f'{doc[0].upper()}{doc[1:]}.')
        if name == command and name != LOOP:
            chosen = parser
            more = {'others': others} if name == RUN else {}
            module_of(name).add_arguments(parser, **more)
    return top, chosen


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed words.

    Raises:
        ConfigError: If they can't be read.
    """
    command = next((word for word in arguments if not word.startswith('-')), '')
    if command and command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f'did you mean {near[0]}?' if near else '`streambench --help` shows what there is.'
        raise ConfigError(f'there is no command {command!r}; {hint}')
    others = command == RUN and _names_others(arguments)
    try:
        namespace, unknown = parsers(command, others=others)[0].parse_known_args(arguments)
    except ConfigError:
        if command != RUN:
            raise
        unknown = ['?']
    if not unknown:
        return namespace
    # A flag that isn't ours may belong to a plugin of another package.
    top, chosen = parsers(command, others=True)
    namespace, unknown = top.parse_known_args(arguments)
    if unknown:
        _refuse_unknown(unknown[0], chosen)
    return namespace


def _names_others(arguments: Sequence[str]) -> bool:
    """Return whether a plugin of another package is chosen, so that `--help` must know its flags."""
    from streambench import registry
    from streambench.config import CHOOSERS

    kinds = {f'--{name.replace("_", "-")}': kind for name, kind in CHOOSERS.items()}
    pairs = [word.partition('=')[::2] for word in arguments if '=' in word]
    return any(
        flag in kinds and registry.listed(kinds[flag], name) not in registry.PLUGINS[kinds[flag]]
        for flag, name in [*pairs, *pairwise(arguments)]
    )


def _refuse_unknown(word: str, parser: _Parser) -> NoReturn:
    """Raise ConfigError for a word that means nothing here; its value stays unsaid."""
    flag = word.partition('=')[0].replace('_', '-')
    help_shows = f'`{parser.prog} --help` shows what there is.'
    if not word.startswith('-'):
        raise ConfigError(f'{word!r} belongs to no flag; {help_shows}')
    if 'password' in flag:
        from streambench.kinds import PASSWORD_REMEDY

        raise ConfigError(
            f'{flag}: a password on a command line is seen by everybody; {PASSWORD_REMEDY}.'
        )
    near = difflib.get_close_matches(flag, parser.flags, n=1)
    hint = f'did you mean {near[0]}?' if near else help_shows
    raise ConfigError(f'there is no flag {word.partition("=")[0]}; {hint}')
