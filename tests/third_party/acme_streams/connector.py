"""A connector of a package of its own: a class of ProxyStore's kind, and the settings that name it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from streambench.connectors.base import ConnectorPlugin
from streambench.kinds import text
from streambench.options import option


class ShelfKey(NamedTuple):
    name: str


class ShelfConnector:
    """Objects as files, by ProxyStore's connector protocol."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        Path(directory).mkdir(parents=True, exist_ok=True)

    def _path(self, key: ShelfKey) -> Path:
        return Path(self.directory) / key.name

    def close(self) -> None:
        return

    def config(self) -> dict[str, Any]:
        return {'directory': self.directory}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ShelfConnector:
        return cls(**config)

    def put(self, obj: bytes) -> ShelfKey:
        key = ShelfKey(uuid.uuid4().hex)
        self._path(key).write_bytes(obj)
        return key

    def put_batch(self, objs: Sequence[bytes]) -> list[ShelfKey]:
        return [self.put(obj) for obj in objs]

    def get(self, key: ShelfKey) -> bytes | None:
        return self._path(key).read_bytes() if self.exists(key) else None

    def get_batch(self, keys: Sequence[ShelfKey]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def exists(self, key: ShelfKey) -> bool:
        return self._path(key).exists()

    def evict(self, key: ShelfKey) -> None:
        self._path(key).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class ShelfPlugin(ConnectorPlugin):
    """Files on a shelf."""

    name = 'shelf'
    summary = 'files on a shelf'
    class_name = 'ShelfConnector'

    shelf_dir: str | None = option('Where the shelf is.', text('DIR'), group='connector', required=True)

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        module = 'acme_streams.connector'
        return f'{module}.ShelfConnector', {'directory': self.shelf_dir}, f'{module}:ShelfKey'
