"""SMS over a provider's HTTP interface: template messages, signed requests, an honest receipt for each answer.

What the connection refused was surely not taken; what was written and not answered is unknown. What that means depends
on the provider: one that knows our ``out_id`` rejects repeats (A) or can be asked (B), any other is blind (C).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import NoAnswer, Poster
from aimwell.deployment.channels.sms_dialects import (
    DIALECTS,
    Account,
    PlainDialect,
    SmsOrder,
    find_meaning,
    make_receipt,
)
from aimwell.deployment.channels.sms_numbers import write_number
from aimwell.deployment.channels.sms_signing import SmsRequest
from aimwell.deployment.channels.sms_templates import SmsTemplate, find_template

_TOO_MANY = 429
_FAILED = Receipt(Outcome.TEMPORARY, "connection_failed")
_LOST = Receipt(Outcome.UNKNOWN, "connection_lost")


class HttpSmsChannel(Channel):
    """Orders messages from the provider of ``account``, ``window`` at once, through ``poster``, which guards addresses.

    ``dialect`` is one of ``sms_dialects.DIALECTS``; ``templates`` are those that the provider reviewed;
    ``region`` holds for numbers without country code.
    """

    def __init__(
        self,
        account: Account,
        *,
        signature: str,
        templates: Sequence[SmsTemplate],
        dialect: str = "plain",
        promise: Promise = Promise.BLIND,
        region: str = "CN",
        window: int = 8,
        poster: Poster | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        # Not kept open between requests but for who rejects repeats: see there.
        self._poster = poster or Poster(timeout=15.0, reuse=promise is Promise.REJECTS_REPEATS)
        for url in filter(None, (account.url, account.query_url)):
            check_address(url, plain=bool(self._poster.exempt))
        self._dialect = DIALECTS[dialect]
        self.promise = _check_promise(promise, self._dialect, account)
        self.window = window
        self._account = account
        self._signature = signature
        self._templates = tuple(templates)
        self._region = region
        self._clock = clock
        self._threads: ThreadPoolExecutor | None = None

    def deliver(self, message: Message) -> Receipt:
        """Order one message."""
        phone = write_number(message.recipient, self._region)
        if phone is None:
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        found = find_template(self._templates, self._signature, message.text)
        if found is None:
            return Receipt(Outcome.PERMANENT, "template_mismatch")
        order = SmsOrder(message.delivery_id, phone, self._signature, found[0].code, found[1])
        return self._call(*self._dialect.order(order, self._account, self._clock(), secrets.token_hex(16)))

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Order up to ``window`` messages at once."""
        if len(messages) == 1:
            return [self.deliver(messages[0])]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.window, thread_name_prefix="sms")
        return list(self._threads.map(self.deliver, messages))

    def find(self, delivery_id: str) -> Receipt | None:
        """Ask for the message: its receipt, None when the provider surely has none, UNKNOWN when it cannot say."""
        if not isinstance(self._dialect, PlainDialect):
            return _LOST
        request = self._dialect.ask(delivery_id, self._account, self._clock(), secrets.token_hex(16))
        status, answer, _ = self._exchange(*request)
        if status != 200 or not isinstance(answer.get("found"), bool):
            return _LOST
        if not answer["found"]:
            return None
        return Receipt(Outcome.SENT, provider_id=self._dialect.read(answer)[1])

    def finish(self) -> None:
        """Close the connections."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        self._poster.close()

    def _call(self, url: str, request: SmsRequest) -> Receipt:
        status, answer, wait = self._exchange(url, request)
        if status == 0:
            return _FAILED
        code, provider_id = self._dialect.read(answer)
        if code:
            return make_receipt(find_meaning(code, self._account.codes), provider_id, wait)
        if status == _TOO_MANY:
            return make_receipt("throttled", retry_after=wait)
        if status in (401, 403) or 300 <= status < 400:
            return make_receipt("not_let_in")
        if 400 <= status < 500:
            return make_receipt("rejected")
        # Taken or not: an answer that says nothing, or a gateway that gave up on what stands behind it.
        return _LOST

    def _exchange(self, url: str, request: SmsRequest) -> tuple[int, dict[str, Any], float | None]:
        """(status, answer, seconds to wait); status 0: nothing reached the provider, -1: perhaps something did."""
        target = f"{url}?{request.target.partition('?')[2]}" if request.query else url
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        try:
            answer = self._poster.send(request.method, target, body=request.body, headers=headers)
        except NoAnswer as missing:
            return (-1 if missing.receipt.outcome is Outcome.UNKNOWN else 0), {}, None
        return answer.status, _read_object(answer.body), answer.retry_after


def check_address(url: str, *, plain: bool = False) -> None:
    """BadInput unless ``url`` is https: keys and numbers travel over it.

    ``plain``: internal receivers are named, so that http may lead to one; whether it does is seen when it is called.
    """
    parts = urlsplit(url)
    fits = parts.scheme == "https" or (plain and parts.scheme == "http")
    if fits and parts.hostname and not parts.query and not parts.username:
        return
    raise BadInput(
        "deployment.sms_address",
        say("The address of the SMS provider cannot be used."),
        remedy=say("Write an https address without user and query, such as https://sms.example.com/send."),
        where={"column": "sms.url"},
    )


def _check_promise(promise: Promise, dialect: object, account: Account) -> Promise:
    knows = isinstance(dialect, PlainDialect)
    if promise is Promise.BLIND or (
        knows and (promise is Promise.REJECTS_REPEATS or account.query_url is not None)
    ):
        return promise
    raise BadInput(
        "deployment.sms_promise",
        say("This SMS provider cannot promise '{promise}'.", promise=promise.value),
        remedy=say("Use C; or A and B with the dialect plain, and for B a query_url."),
        where={"column": "sms.promise"},
    )


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
