"""Test sends: what a customer of a plan would get, sent to whoever tests.

They go through the ledger like any other (source ``test:<plan>:<…>``), count to no cap, wait for no hour, and name the
customer ``test``: links in them change nothing for the customer whose words they borrow. The tester's address is kept
nowhere. Reads what a campaign reads; writes the store's ``deliveries``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import say
from aimwell.core.time import business_day, now
from aimwell.deployment.audience import Addressee, find_recipient
from aimwell.deployment.channels.channel import Channel, Message
from aimwell.deployment.channels.unready import Unready
from aimwell.deployment.ledger_rows import Intended, identify_delivery
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import work
from aimwell.deployment.waves import LoadedWave, build_composer, load_wave
from aimwell.deployment.ways import build_channels, open_ledger
from aimwell.engine.workspace import Workspace

NOBODY = "test"
_COUPON = "TEST-0000"
"""In the place of a coupon: a real one would be taken from somebody."""
_LIVES_MS = 600_000
_PREFIX = {"en": "[Test] ", "zh": "[测试] "}


def send_test(
    workspace: Workspace,
    plan_id: str,
    *,
    to: Sequence[str],
    channel: str | None = None,
    customer_id: str | None = None,
    channels: Mapping[str, Channel] | None = None,
) -> dict[str, int]:
    """Send what ``customer_id`` (else the first who fits) would get to each of ``to``; state → deliveries."""
    wave = load_wave(workspace, plan_id)
    model = _find_model(wave, channel, customer_id)
    addresses = [_check_address(model.channel, address) for address in to]
    source = f"test:{plan_id}:{secrets.token_hex(4)}"
    today = business_day(now(), workspace.settings.business.zone)
    items = [
        Intended(
            source, NOBODY, f"{model.action_id}#{number}", model.channel, today, 0, True, purpose="test",
            expires_ms=int(now().timestamp() * 1000) + _LIVES_MS,
        )
        for number in range(len(addresses))
    ]  # fmt: skip
    composers = {
        item.delivery_id: _borrow(workspace, wave, model, item, address)
        for item, address in zip(items, addresses, strict=True)
    }
    ledger = open_ledger(workspace)
    way = (build_channels(workspace) | dict(channels or {})).get(model.channel)
    if isinstance(way, Unready):
        raise way.problem
    ledger.enqueue(items)
    if way is not None:
        work(
            ledger,
            plan_id=source,
            channel_name=model.channel,
            channel=way,
            compose=lambda candidate: composers[candidate.delivery_id](candidate),
        )
    # What did not go out now never will.
    ledger.stop(source)
    workspace.store.audit("campaign.tested", plan_id, {"channel": model.channel, "messages": len(items)})
    states: dict[str, int] = {}
    for (_, state, _), (rows, _) in ledger.count_states(source).items():
        states[state] = states.get(state, 0) + rows
    return states


def _find_model(wave: LoadedWave, channel: str | None, customer_id: str | None) -> Addressee:
    for item in wave.addressees:
        if channel in (None, item.channel) and customer_id in (None, item.customer_id):
            return item
    raise NotReady(
        "deployment.nobody_to_test",
        say("The plan treats nobody like that."),
        remedy=say("Leave out --customer or --channel, or choose others."),
    )


def _check_address(channel: str, address: str) -> str:
    column = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}.get(channel)
    found = address.strip() if column is None else find_recipient(channel, {column: address})
    if not found:
        raise BadInput(
            "deployment.bad_address",
            say("That is no address that this channel can use."),
            remedy=say("Give an address such as name@example.com, or a telephone number."),
        )
    return found


def _borrow(
    workspace: Workspace, wave: LoadedWave, model: Addressee, item: Intended, address: str
) -> Callable[[Candidate], Message]:
    """A composer of one message: the model's words, nobody's customer number, the tester's address."""
    plan_id = wave.plan.wave.plan_id
    nobody = replace(
        model,
        customer_id=NOBODY,
        action_id=item.action_id,
        recipient=address,
        recipients={model.channel: address},
    )
    content_id, detail = wave.find_content(model)
    detail.pop("coupon_pool", None)
    further = {"coupon_code": _COUPON}
    composer = build_composer(workspace, replace(wave, addressees=[nobody]), further=further)

    def make(candidate: Candidate) -> Message:
        known = identify_delivery(plan_id, NOBODY, item.action_id)
        asked = replace(candidate, delivery_id=known, plan_id=plan_id, content_id=content_id, detail=detail)
        message = composer.compose(asked)
        subject = _PREFIX.get(message.language, _PREFIX["en"]) + message.subject if message.subject else ""
        return replace(message, delivery_id=candidate.delivery_id, plan_id=candidate.plan_id, subject=subject)

    return make
