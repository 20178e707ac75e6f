"""Everything that can go wrong, as one small tree of exceptions with their exit codes.

A message names what happened, the value, and the remedy, in one sentence. Exit codes belong to the
exceptions so that the command line and an embedding test harness read the same meaning.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_CONFIG = 2
EXIT_RUN = 3
EXIT_INTEGRITY = 4
EXIT_INVALID = 5
EXIT_THRESHOLD = 99
EXIT_INTERRUPTED = 130

EXIT_PRECEDENCE = (
    EXIT_INTERRUPTED,
    EXIT_CONFIG,
    EXIT_INTEGRITY,
    EXIT_RUN,
    EXIT_INVALID,
    EXIT_THRESHOLD,
    EXIT_OK,
)


class StreamBenchError(Exception):
    """Anything streambench itself reports."""

    exit_code = EXIT_RUN

    def __reduce__(self) -> tuple[object, ...]:
        """Return how another process makes it again: a class may want more than its words."""
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[StreamBenchError], words: tuple[object, ...]) -> StreamBenchError:
    return kind.__new__(kind, *words)


class ConfigError(StreamBenchError):
    """The configuration can't be run as it stands."""

    exit_code = EXIT_CONFIG


class UnknownPluginError(ConfigError):
    """No broker, connector or executor has that name."""


class MissingExtraError(ConfigError):
    """A chosen plugin needs a package that isn't installed."""


class BrokerError(StreamBenchError):
    """The broker can't be reached, refuses, or went away.

    Attributes:
        reason: Why alone, where the remedy is another one.
    """

    def __init__(self, message: str, *, reason: str = '') -> None:
        super().__init__(message)
        self.reason = reason


class ConnectorError(StreamBenchError):
    """The store can't be reached, refuses, or lost an object."""


class ExecutorError(StreamBenchError):
    """The executor can't be started or its workers didn't come."""


class RunError(StreamBenchError):
    """A run ended before all of its items completed."""


class ResultsError(RunError):
    """Results can't be written, so that no further run makes sense."""


class AbortError(RunError):
    """A threshold with `abort:` failed while its run was under way."""

    exit_code = EXIT_THRESHOLD


class StallError(RunError):
    """Nothing moved for the stall timeout.

    Attributes:
        sent: Items that the generator handed to the broker.
        received: Items that the dispatcher got.
        submitted: Tasks given to the executor.
        completed: Tasks whose outcome came back.
    """

    def __init__(
        self, message: str, *, sent: int, received: int, submitted: int, completed: int
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.received = received
        self.submitted = submitted
        self.completed = completed


def in_one_line(error: Exception) -> str:
    """Return what an error says, as a part of a sentence."""
    text = ' '.join(str(error).split()).rstrip('.')
    return text or type(error).__name__


def first_error(error: Exception) -> StreamBenchError | None:
    """Return the first of our errors in a group, or None if it holds another kind."""
    if isinstance(error, ExceptionGroup):
        found = [first_error(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, StreamBenchError) else None


def first_exit_code(codes: set[int]) -> int:
    """Return the exit code that comes first when several apply."""
    for code in EXIT_PRECEDENCE:
        if code in codes:
            return code
    return EXIT_RUN if codes else EXIT_OK
