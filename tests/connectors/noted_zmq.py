"""The ZeroMQ connector, whose keys are noted: its servers don't list what they hold."""

from __future__ import annotations

from typing import ClassVar

from proxystore.serialize import BytesLike
from proxystore_ex.connectors.dim.models import DIMKey

from streambench.connectors.zmq_connector import ZeroMQConnector


class NotedZeroMQConnector(ZeroMQConnector):
    """A connector that notes what this process puts."""

    keys: ClassVar[list[DIMKey]] = []

    def put(self, obj: BytesLike) -> DIMKey:
        """Put an object on this node, note its key and return it."""
        key = super().put(obj)
        self.keys.append(key)
        return key
