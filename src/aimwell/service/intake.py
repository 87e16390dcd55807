"""``/v1/track`` and its like: events of Segment's clients, durable before they are answered.

A batch is taken as a whole or not at all (429, 503), and each of its items is accepted, known already, or refused
with the reason: then the answer is 207 and says which. Writes what ``data.event_intake`` writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.text import Language, say
from aimwell.data.event_intake import Receipt
from aimwell.data.event_queue import EventQueue
from aimwell.data.segment_events import JsonObject
from aimwell.service.bodies import read_form, read_object
from aimwell.service.exchange import JSON, Act, Answer, Asked, Headers, encode, show_problem
from aimwell.service.refusals import refuse, refuse_full, refuse_items, refuse_json, refuse_large

MOST_BODY = 500_000
MOST_ITEM = 32_768
"""Bytes of one message, with what its batch says for all."""
MOST_ITEMS = 2_000
MOST_SPREAD = 4_000_000
"""Bytes of a batch's messages, what is said for all counted with each."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "track": ("/v1/track", "/v1/t"),
    "identify": ("/v1/identify", "/v1/i"),
    "page": ("/v1/page", "/v1/p"),
    "screen": ("/v1/screen", "/v1/s"),
    "group": ("/v1/group", "/v1/g"),
    "alias": ("/v1/alias", "/v1/a"),
}
"""Kind of message → its paths; the short ones are those of clients in browsers and phones."""
BATCH_PATHS = ("/v1/batch", "/v1/b", "/v1/import")
_TAKEN = encode({"success": True})
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"authorization, content-type, content-encoding, x-request-id"),
    (b"access-control-max-age", b"86400"),
)
_OURS = ("writeKey", "receivedAt")
"""What a sender does not say for us: its key is kept nowhere, and when a message arrived we know ourselves."""


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]
    writeKey: str | None = None
    sentAt: str | int | None = None
    context: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass
class _Item:
    """One item of a batch: its message, or what is wrong with it; later what became of it."""

    message: JsonObject | None
    problem: AimwellError | None = None
    size: int = 0
    receipt: Receipt | None = None

    @property
    def status(self) -> str:
        return "rejected" if self.receipt is None else self.receipt.status

    @property
    def reason(self) -> AimwellError | None:
        return self.problem if self.receipt is None else self.receipt.problem


class Intake:
    """The routes that take events in; ``queue`` makes them durable."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue

    def take_kind(self, kind: str) -> Act:
        """The route for single messages of one kind."""

        async def take(asked: Asked) -> Answer:
            return await self._take_one(asked, kind)

        return take

    async def take_batch(self, asked: Asked) -> Answer:
        """Many messages at once."""
        secret = asked.read_secret()
        if secret is not None:
            await asked.admit("write", secret=secret)
        batch = read_form(await asked.read_body(MOST_BODY), _Batch)
        if secret is None:
            await asked.admit("write", secret=batch.writeKey or None)
        items = _read_items(batch)
        await self._keep(asked, items)
        return _answer_batch(asked, items)

    async def keep(self, messages: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """Make messages of ours durable: what providers and pages tell. Refused when there is no room."""
        # Nearly the bytes of their JSON; what cannot be written as such is refused later, message by message.
        return await self._offer(messages, len(repr(messages)))

    async def _take_one(self, asked: Asked, kind: str) -> Answer:
        secret = asked.read_secret()
        if secret is not None:
            await asked.admit("write", secret=secret)
        body = await asked.read_body(MOST_BODY)
        message, problem = read_object(body)
        if secret is None:
            told = message.get("writeKey") if isinstance(message, dict) else None
            await asked.admit("write", secret=told if isinstance(told, str) and told else None)
        if problem is not None:
            raise refuse(problem)
        if len(body) > MOST_ITEM:
            raise refuse_large(MOST_ITEM)
        if not isinstance(message, dict):
            raise refuse_json()
        item = _Item(_own(message, {"type": kind}), size=len(body))
        await self._keep(asked, [item])
        if item.status == "rejected" and item.reason is not None:
            raise refuse(item.reason)
        return _answer_batch(asked, [item])

    async def _keep(self, asked: Asked, items: Sequence[_Item]) -> None:
        kept = [item for item in items if item.message is not None]
        if kept:
            size = sum(item.size for item in kept)
            receipts = await self._offer([item.message for item in kept], size)
            for item, receipt in zip(kept, receipts, strict=True):
                item.receipt = receipt
        counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
        for item in items:
            counts[item.status] += 1
        for status, number in counts.items():
            asked.doors.metrics.count_events(status, number)

    async def _offer(self, messages: Sequence[object], size: int) -> list[Receipt]:
        answer = self._queue.offer(messages, size=size)
        if answer is None:
            raise refuse_full()
        return await asyncio.wrap_future(answer)


async def answer_preflight(asked: Asked) -> Answer:
    """A browser asks whether it may send events: it may, with a key."""
    return Answer(b"", 204, JSON, _PREFLIGHT)


def _own(message: dict[str, Any], ours: Mapping[str, Any]) -> JsonObject:
    found = JsonObject(message)
    for name in _OURS:
        found.pop(name, None)
    found.update(ours)
    return found


def _read_items(batch: _Batch) -> list[_Item]:
    if len(batch.batch) > MOST_ITEMS:
        raise refuse_items(MOST_ITEMS)
    shared = len(memoryview(batch.context))
    if shared * len(batch.batch) > MOST_SPREAD:
        raise refuse_large(MOST_ITEM)
    context, problem = read_object(batch.context)
    if problem is not None:
        raise refuse(problem)
    told = {"sentAt": batch.sentAt, "context": context or None}
    common = {name: value for name, value in told.items() if value is not None}
    return [_read_item(raw, shared, common) for raw in batch.batch]


def _read_item(raw: msgspec.Raw, shared: int, common: Mapping[str, Any]) -> _Item:
    size = len(memoryview(raw))
    if size + shared > MOST_ITEM:
        return _Item(None, _explain_large(size + shared))
    message, problem = read_object(raw)
    if problem is None and not isinstance(message, dict):
        problem = _explain_shape()
    if problem is not None:
        return _Item(None, problem)
    own = {name: value for name, value in common.items() if name not in message}
    return _Item(_own(message, own), size=size + shared)


def _answer_batch(asked: Asked, items: Sequence[_Item]) -> Answer:
    if all(item.reason is None and item.receipt is not None for item in items):
        return Answer(_TAKEN)
    language = asked.language
    counts = {
        name: sum(item.status == name for item in items) for name in ("accepted", "duplicate", "rejected")
    }
    errors = [
        _show_item(place, item, language) for place, item in enumerate(items) if item.reason is not None
    ]
    body = {"success": counts["rejected"] == 0, **counts, "errors": errors}
    return Answer(encode(body), 207)


def _show_item(place: int, item: _Item, language: Language) -> dict[str, Any]:
    assert item.reason is not None
    told = None if item.message is None else item.message.get("messageId")
    return {
        "index": place,
        "message_id": told if isinstance(told, str) else None,
        "status": item.status,
        "error": show_problem(item.reason, language),
    }


def _explain_large(size: int) -> BadInput:
    return BadInput(
        "service.item_too_large",
        say("The item has {size} bytes; at most {most} are taken.", size=size, most=MOST_ITEM),
        remedy=say("Send large texts elsewhere and their address here."),
    )


def _explain_shape() -> BadInput:
    return BadInput(
        "service.item_no_object",
        say("The event is not a JSON object."),
        remedy=say("Send one object per event, in braces."),
    )
