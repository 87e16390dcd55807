"""``/healthz``, ``/readyz``, ``/metrics`` and ``/openapi.json``: for those who run the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from aimwell.core.text import Language
from aimwell.engine.store import Store
from aimwell.service.exchange import Answer, Asked, encode
from aimwell.service.metrics import CONTENT_TYPE
from aimwell.service.refusals import refuse_store

_PATIENCE = 3.0
_ALIVE = encode({"status": "alive"})
_READY = encode({"status": "ready"})


class Health:
    """The routes; ``describe`` makes the description of all of them."""

    def __init__(self, store: Store, describe: Callable[[Language], Mapping[str, Any]]) -> None:
        self._store = store
        self._describe = describe
        self._described: dict[Language, bytes] = {}

    async def tell_alive(self, asked: Asked) -> Answer:
        """The process answers."""
        return Answer(_ALIVE)

    async def tell_ready(self, asked: Asked) -> Answer:
        """The store answers, too."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self._ask_store), _PATIENCE)
        except TimeoutError:
            raise refuse_store() from None
        return Answer(_READY)

    async def show_metrics(self, asked: Asked) -> Answer:
        """Figures for Prometheus."""
        await asked.admit("read")
        body = await asyncio.to_thread(asked.doors.metrics.render)
        return Answer(body, 200, CONTENT_TYPE.encode())

    async def show_description(self, asked: Asked) -> Answer:
        """What is served, in the reader's language."""
        language = asked.language
        found = self._described.get(language)
        if found is None:
            found = self._described[language] = encode(self._describe(language))
        return Answer(found)

    def _ask_store(self) -> None:
        with self._store.snapshot() as connection:
            connection.execute(sa.text("SELECT 1"))
