"""``/v1/inbox``: the messages that wait for a customer in the company's app or site.

Reads and writes what ``deployment.channels.inbox`` does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.deployment.channels.inbox import Mark, count_unread, list_messages, mark
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Workspace
from aimwell.service.bodies import read_form
from aimwell.service.customer_token import read_customer, sign_customer
from aimwell.service.decide import CustomerId
from aimwell.service.exchange import JSON, Answer, Asked, Headers, encode
from aimwell.service.refusals import Refused, refuse_key

MOST_BODY = 4_096
LONGEST_SECONDS = 86_400
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
    (b"access-control-max-age", b"86400"),
)


class TokenWanted(msgspec.Struct, forbid_unknown_fields=True):
    """For whom, and for how long."""

    customer_id: CustomerId
    seconds: Annotated[int, Meta(ge=1, le=LONGEST_SECONDS)] = 3_600


class Marked(msgspec.Struct, forbid_unknown_fields=True):
    """What the customer did with a message."""

    state: Mark


class Inbox:
    """The routes of the in-app inbox."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store
        self._secret = load_secret(workspace.path)

    async def give_token(self, asked: Asked) -> Answer:
        """A token for one customer, for the company's own server."""
        await asked.admit("read")
        form = read_form(await asked.read_body(MOST_BODY), TokenWanted)
        ends_ms = _now_ms() + form.seconds * 1000
        token = sign_customer(self._secret, form.customer_id, ends_ms)
        return Answer(encode({"token": token, "ends_ms": ends_ms}))

    async def show(self, asked: Asked) -> Answer:
        """The customer's messages, newest first."""
        customer = self._find_customer(asked)
        body = await asyncio.to_thread(self._list, customer)
        return Answer(encode(body))

    async def mark(self, asked: Asked) -> Answer:
        """Note that a message was read, unread or dismissed."""
        customer = self._find_customer(asked)
        form = read_form(await asked.read_body(MOST_BODY), Marked)
        done = await asyncio.to_thread(self._mark, customer, asked.places["delivery_id"], form.state)
        if not done:
            problem = BadInput(
                "service.no_such_message",
                say("This customer has no such message."),
                remedy=say("Load the inbox anew."),
            )
            raise Refused(problem, 404)
        return Answer(encode({"state": form.state}))

    async def answer_preflight(self, asked: Asked) -> Answer:
        """A browser asks whether it may: it may, with a customer's token."""
        return Answer(b"", 204, JSON, _PREFLIGHT)

    def _find_customer(self, asked: Asked) -> str:
        token = asked.read_secret()
        if token is None:
            raise refuse_key()
        return read_customer(self._secret, token, _now_ms())

    def _list(self, customer: str) -> dict[str, Any]:
        now_ms = _now_ms()
        with self._store.snapshot() as connection:
            messages = [one.to_dict() for one in list_messages(connection, customer, now_ms)]
            return {"messages": messages, "unread": count_unread(connection, customer, now_ms)}

    def _mark(self, customer: str, delivery_id: str, state: Mark) -> bool:
        with self._store.begin() as connection:
            return mark(connection, customer, delivery_id, state, _now_ms())


def _now_ms() -> int:
    return int(time.time() * 1000)
