"""A client of Globus Compute that is logged in, and what its SDK says when something goes wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

from streambench.errors import ExecutorError

if TYPE_CHECKING:
    from globus_compute_sdk import Client

LOGIN = (
    'set $GLOBUS_COMPUTE_CLIENT_ID and $GLOBUS_COMPUTE_CLIENT_SECRET, or log in once with '
    '`globus-compute-endpoint login`'
)


def open_client() -> Client:
    """Return a client that is logged in; asks nobody, opens no browser.

    Raises:
        ExecutorError: If there are no credentials, they are refused, or the service can't be reached.
    """
    from globus_compute_sdk import Client
    from globus_compute_sdk.errors import ComputeError
    from globus_compute_sdk.sdk.auth.globus_app import get_globus_app
    from globus_compute_sdk.serialize import PureSourceTextInspect
    from globus_sdk import GlobusError, UserApp

    def refuse(**_: Any) -> NoReturn:
        raise ExecutorError(f'Globus asks for a new login: {LOGIN}.')

    try:
        app = get_globus_app()
        # The check of versions is the first request, and would begin a login.
        client = Client(
            app=app, do_version_check=False, code_serialization_strategy=PureSourceTextInspect()
        )
        if isinstance(app, UserApp):
            if app.login_required():
                raise ExecutorError(f'there are no credentials for Globus Compute here: {LOGIN}.')
            # The SDK calls it in the middle of a request whose token is not good enough.
            app.login = refuse  # type: ignore[method-assign]
        client.version_check()
    except (GlobusError, ComputeError, OSError) as error:
        raise ExecutorError(
            f'Globus Compute can not be reached at {_service()}, or does not take the credentials: '
            f'{said(error)}.'
        ) from error
    except ValueError as error:
        raise ExecutorError(f'Globus Compute has no use for the credentials: {error}') from error
    return client


def _service() -> str:
    from globus_compute_sdk.sdk._environments import get_web_service_url

    return str(get_web_service_url())


def said(error: BaseException) -> str:
    """Return what an error of the SDK says, in a line."""
    if isinstance(error, ExecutorError):
        # Ours, raised inside of it.
        return str(error)
    remote = getattr(error, 'remote_data', None)
    if remote is not None:
        # The text of a traceback: its last line that isn't indented names the error.
        lines = [line.strip(' \t*') for line in str(remote).splitlines() if line.strip(' \t*-')]
        named = [line for line in lines if line.partition(':')[0].rpartition('.')[2][:1].isupper()]
        return (named or lines or ['no text'])[-1]
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


class Delays(logging.Filter):
    """Count the waits that the SDK imposes on itself; it would warn of each in seven lines."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is about something else."""
        if 'API rate-limit delay' not in str(record.msg) or not isinstance(record.args, tuple):
            return True
        self.seconds += float(str(record.args[2]))
        return False
