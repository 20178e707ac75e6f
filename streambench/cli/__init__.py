"""The command line: the only place that touches the process.

Loop factory, signals, logging, environment variables and exit codes are set here; everything else is
the library.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from streambench.cli.signals import like_ctrl_c
from streambench.cli.terminal import complain, flush, prepare, say
from streambench.errors import EXIT_INTERRUPTED, EXIT_OK, StreamBenchError

LOOP = 'loop'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: Words after the program's name; those of the process if absent.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        prepare()
        code = _profiled(words[1:]) if words and words[0] == LOOP else _run(words)
    except StreamBenchError as error:
        complain(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        complain('interrupted.')
        code = EXIT_INTERRUPTED
    except SystemExit as end:
        # argparse ends so after --help and --version.
        code = EXIT_OK if end.code is None else int(end.code)
    except BrokenPipeError:
        code = EXIT_OK
    try:
        flush()
    except StreamBenchError as error:
        complain(str(error))
        code = code or error.exit_code
    return code


def _profiled(words: Sequence[str]) -> int:
    # Before anything is imported that must be installed: this command works without.
    from streambench.loop_monitor import command

    return command.main(words)


def _run(arguments: Sequence[str]) -> int:
    with like_ctrl_c():
        return _command(arguments)


def _command(arguments: Sequence[str]) -> int:
    from streambench.cli.arguments import module_of, parse, parsers

    namespace = parse(arguments)
    if namespace.command is None:
        say(parsers()[0].format_help())
        return EXIT_OK
    code: int = module_of(namespace.command).run(namespace)
    return code
