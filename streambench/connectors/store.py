"""An open ProxyStore store: the generator puts, the session evicts, both in threads of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streambench import worker
from streambench.errors import ConnectorError, in_one_line

if TYPE_CHECKING:
    from proxystore.store.base import Store

Key = tuple[Any, ...]

# Where nothing moved for so long at the end of a run, its server is not waited for any more.
SILENT_S = 5.0
AGAIN_S = 0.2


def _hashable(key: Key) -> Key:
    """Return a key as it was put, also after JSON has made lists of its tuples."""
    return tuple(tuple(field) if isinstance(field, list) else field for field in key)


class OpenStore:
    """A store that is open: the generator puts, the session evicts.

    Args:
        store: ProxyStore's.
        description: What a worker needs to open the same store, as JSON text.
        title: What it is and where, for errors.

    Attributes:
        description: What a worker needs to open the same store, as JSON text.
    """

    def __init__(self, store: Store[Any], description: str, *, title: str) -> None:
        self.description = description
        self._title = title
        self._store = store
        self._key_class = worker._import(json.loads(description)['key_class'])
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='store')
        self._evictor = ThreadPoolExecutor(1, thread_name_prefix='evict')
        self._evicting: list[Key] = []
        self._evictions: asyncio.Future[None] | None = None
        self._failure: ConnectorError | None = None
        self._doubtful = False
        self._abandoned: set[asyncio.Future[Key]] = set()
        self._left: set[Key] = set()

    async def put(self, pieces: Sequence[bytes]) -> Key:
        """Put a payload, off the loop, and return the fields of its key.

        Raises:
            ConnectorError: If the store refuses or is gone.
        """
        putting = asyncio.get_running_loop().run_in_executor(self._thread, self._put, pieces)
        try:
            return await asyncio.shield(putting)
        except asyncio.CancelledError:
            # The thread can't be stopped: what it still puts is nobody's.
            self._abandoned.add(putting)
            putting.add_done_callback(self._abandon)
            raise

    def _abandon(self, putting: asyncio.Future[Key]) -> None:
        self._abandoned.discard(putting)
        if not putting.cancelled() and putting.exception() is None:
            self.evict(putting.result())

    def _put(self, pieces: Sequence[bytes]) -> Key:
        try:
            key = tuple(self._store.put(b''.join(pieces)))
        except Exception as error:
            raise ConnectorError(
                f'the {self._title} did not take a payload of {sum(map(len, pieces))} bytes '
                f'({in_one_line(error)}): see that it runs and has room.'
            ) from error
        self._left.add(key)
        self._doubtful = False
        return key

    def evict(self, key: Key) -> None:
        """Remove an object soon, off the loop, together with others that wait."""
        self._evicting.append(key)
        if self._evictions is None:
            self._evictions = asyncio.ensure_future(self._evict_waiting())

    async def _evict_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._evicting:
                keys, self._evicting = self._evicting, []
                # Once one failed the store is gone, and every other would only wait for it in vain.
                if self._failure is None:
                    await loop.run_in_executor(self._evictor, self._evict, keys)
        except ConnectorError as error:
            self._failure = error
        finally:
            self._evictions = None

    def _evict(self, keys: list[Key]) -> None:
        for key in keys:
            try:
                self._store.evict(worker.key_of(self._key_class, key))
            except Exception as error:
                raise ConnectorError(
                    f'the {self._title} did not remove {key} ({in_one_line(error)}): see that it runs.'
                ) from error
            self._left.discard(_hashable(key))

    async def settle(self, *, silent_s: float = SILENT_S) -> None:
        """Return when everything that was to be removed is.

        Args:
            silent_s: Time without any movement after which it is given up.

        Raises:
            ConnectorError: If the store has refused, or is gone.
        """
        settling = asyncio.ensure_future(self._settle())
        patience_s, left = silent_s, len(self._left)
        while not (await asyncio.wait([settling], timeout=patience_s))[0]:
            if len(self._left) == left:
                # One thread may wait for another to ask in vain too.
                worker.abort(self._store)
                patience_s = AGAIN_S
            left = len(self._left)
        settling.result()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._doubtful = True
            raise failure

    async def _settle(self) -> None:
        while self._abandoned:
            await asyncio.wait(self._abandoned)
        while self._evictions is not None:
            await self._evictions

    def shutdown(self) -> None:
        """End the threads and close the store."""
        from proxystore.store import unregister_store

        self._thread.shutdown()
        self._evictor.shutdown()
        # Some stores outlive us and can't tell whose objects they hold; one that is gone holds none.
        if not self._doubtful:
            with suppress(ConnectorError):
                self._evict(list(self._left))
        worker.close_stores(self._store.name)
        unregister_store(self._store)
        self._store.close()
