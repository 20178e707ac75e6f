"""The command line: the only place that touches the process.

Loop factory, signals, logging, environment variables and exit codes are set here; everything else is
the library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from streambench.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RUN, StreamBenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: Words after the program's name; those of the process if absent.
    """
    from streambench.cli.arguments import parse, parser, plan_of

    try:
        namespace = parse(sys.argv[1:] if arguments is None else arguments)
        if namespace.command is None:
            parser(others=False).print_help()
        elif namespace.command == 'list':
            from streambench.catalogue import catalogue_text

            print(catalogue_text())
        else:
            plan = plan_of(namespace, os.environ)
            if not namespace.dry_run:
                from streambench.cli.measure import measure

                return measure(plan)
            from streambench.report import plan_text

            print(plan_text(plan))
    except StreamBenchError as error:
        print(f'streambench: {error}', file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain about that when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_RUN
    return EXIT_OK
