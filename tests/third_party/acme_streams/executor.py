"""An executor of a package of its own: anything with `submit` will do."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streambench.executors.base import ExecutorPlugin, OpenExecutor


@dataclass(frozen=True, kw_only=True)
class CrewExecutor(ExecutorPlugin):
    """A crew of threads."""

    name = 'crew'
    summary = 'a crew of threads'
    class_name = 'ThreadPoolExecutor'
    in_process = True

    def ahead(self, workers: int) -> int:
        return workers

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        pool = ThreadPoolExecutor(slots)
        try:
            yield OpenExecutor(executor=pool, slots=slots)
        finally:
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
