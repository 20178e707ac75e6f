"""ProxyStore's EndpointConnector with deadlines, and with errors that say what happened.

It travels to workers: nothing above layer 0 is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import requests
from proxystore.connectors.endpoint import EndpointConnector as PlainEndpointConnector
from proxystore.connectors.endpoint import EndpointKey
from proxystore.endpoint import client
from proxystore.serialize import BytesLike

CONNECT_S = 5.0
ANSWER_S = 30.0

Answer = TypeVar('Answer')


class EndpointConnector(PlainEndpointConnector):
    """Connector to the endpoint of this node, which asks the others.

    ProxyStore's own waits for an endpoint as long as TCP does, and where it is gone ends in an
    AssertionError without words.

    Args:
        endpoints: UUIDs of the endpoints; one must run where this is.
        proxystore_dir: Directory of their configurations; by default each node's own.
    """

    def __init__(self, endpoints: list[str], proxystore_dir: str | None = None) -> None:
        super().__init__(endpoints, proxystore_dir)
        request = self._session.request
        self._session.request = partial(request, timeout=(CONNECT_S, ANSWER_S))  # type: ignore[method-assign]

    def _asked(self, what: str, call: Callable[..., Answer], key: EndpointKey, *more: Any) -> Answer:
        try:
            return call(
                self.address, key.object_id, *more, endpoint=key.endpoint_id, session=self._session
            )
        except requests.exceptions.RequestException as error:
            if error.response is not None:
                raise ConnectionError(
                    f'{self} refuses to {what} {key.object_id}: {error.response.status_code} '
                    f'{error.response.text.strip()}'
                ) from None
            raise ConnectionError(
                f'lost connection to {self} when it was to {what} {key.object_id}: {error}'
            ) from None

    def get(self, key: EndpointKey) -> BytesLike | None:
        """Return an object, or None if there is none."""
        return self._asked('get', client.get, key)

    def exists(self, key: EndpointKey) -> bool:
        """Return whether there is an object."""
        return self._asked('find', client.exists, key)

    def evict(self, key: EndpointKey) -> None:
        """Remove an object."""
        self._asked('evict', client.evict, key)

    def set(self, key: EndpointKey, obj: BytesLike) -> None:
        """Put an object under a key."""
        self._asked('set', client.put, key, bytes(obj))
