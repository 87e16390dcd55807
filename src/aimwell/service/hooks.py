"""``/hooks/{provider}``: what providers tell, and other systems' signed events; nothing counts without its signature.

A repeat changes nothing: reports are known by their ids, events by their messageId. Secrets come from the environment.
Writes what ``deployment.channels.sms_hooks``, ``deployment.channels.bounce_records`` and ``data.event_intake`` do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.data.event_intake import unpack_batch
from aimwell.deployment.channels.connecting import take_report
from aimwell.deployment.channels.sms_hooks import PROVIDER as SMS
from aimwell.deployment.channels.sms_hooks import apply_hooks, read_hook
from aimwell.deployment.channels.sms_ways import find_customers_by_phone, make_reply_rules
from aimwell.deployment.channels.webhook import read_secrets, verify_hook
from aimwell.engine.erased import ask_workspace
from aimwell.engine.workspace import Workspace
from aimwell.service.bodies import read_object
from aimwell.service.exchange import Answer, Asked, encode
from aimwell.service.intake import MOST_ITEMS, Intake
from aimwell.service.refusals import refuse, refuse_items, refuse_path

EVENTS = "events"
"""Events of Segment's vocabulary, signed after the Standard Webhooks specification."""
MAIL = "mail"
"""A mail that a mail server got back, whole as it came (RFC 822), signed the same way."""
VARIABLES: Mapping[str, str] = {
    SMS: "AIMWELL_SMS_HOOK_SECRET",
    EVENTS: "AIMWELL_HOOK_SECRET",
    MAIL: "AIMWELL_HOOK_SECRET",
}
MOST_BODY = 1_000_000


class Hooks:
    """The route of all providers."""

    def __init__(self, workspace: Workspace, intake: Intake) -> None:
        self._workspace = workspace
        self._intake = intake

    async def take(self, asked: Asked) -> Answer:
        """What one provider tells."""
        provider = asked.places["provider"]
        if provider not in VARIABLES:
            raise refuse_path()
        secret = _read_secret(provider)
        body = await asked.read_body(MOST_BODY)
        if provider == EVENTS:
            return Answer(encode({"events": await self._take_events(asked, body, secret)}))
        take = self._take_mail if provider == MAIL else self._take_reports
        known = await asyncio.to_thread(take, asked.headers, body, secret)
        return Answer(encode({"events": known}))

    async def _take_events(self, asked: Asked, body: bytes, secret: str) -> int:
        hook_id = verify_hook(asked.headers, body, read_secrets(secret))
        told, problem = read_object(body)
        if problem is not None:
            raise refuse(problem)
        messages = unpack_batch(told)
        if len(messages) > MOST_ITEMS:
            raise refuse_items(MOST_ITEMS)
        named = [_name(message, f"{hook_id}:{place}") for place, message in enumerate(messages)]
        receipts = await self._intake.keep(named)
        for receipt in receipts:
            if receipt.problem is not None and receipt.status == "rejected":
                raise refuse(receipt.problem)
        return len(receipts)

    def _take_reports(self, headers: Mapping[str, str], body: bytes, secret: str) -> int:
        workspace = self._workspace
        events = read_hook(SMS, headers, body, secret.encode())
        now_ms = int(time.time() * 1000)
        find = partial(find_customers_by_phone, workspace)
        rules, erased = make_reply_rules(workspace), ask_workspace(workspace)
        return apply_hooks(workspace.store, events, now_ms, find, rules, erased)

    def _take_mail(self, headers: Mapping[str, str], body: bytes, secret: str) -> int:
        verify_hook(headers, body, read_secrets(secret))
        recorded = take_report(self._workspace, body)
        return int(recorded is not None and recorded.delivery_id is not None)


def _name(message: Any, name: str) -> Any:
    return {"messageId": name, **message} if isinstance(message, dict) else message


def _read_secret(provider: str) -> str:
    variable = VARIABLES[provider]
    secret = os.environ.get(variable, "")
    if not secret:
        raise NotReady(
            "service.no_hook_secret",
            say("No secret is set for the provider {provider}.", provider=provider),
            remedy=say("Set {variable} to the secret that the provider signs with.", variable=variable),
        )
    return secret
