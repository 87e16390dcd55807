"""Test sends, proofs and seed lists: what customers of a plan would get, sent to whoever tests.

They go through the ledger like any other (source ``test:<plan>:<…>``), count to no cap, wait for no hour, and name the
customer ``test``: links in them change nothing for the customer whose words they borrow. The tester's address is kept
nowhere. A proof is one message of each version (action, content, variant, language). Seeds are colleagues' addresses in
the settings, who get each version as it goes out, once for a plan. Reads what a campaign reads; writes the store's
``deliveries``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    every: bool = False,
    channels: Mapping[str, Channel] | None = None,
) -> dict[str, int]:
    """Send what ``customer_id`` (else the first who fits) would get to each of ``to``; state → deliveries.

    ``every``: one message of each version instead of one.
    """
    wave = load_wave(workspace, plan_id)
    models = _find_models(wave, channel, customer_id)
    copies = [
        _Copy(model, address, _PREFIX)
        for model in (models if every else models[:1])
        for address in [_check_address(model.channel, one) for one in to]
    ]
    source = f"test:{plan_id}:{secrets.token_hex(4)}"
    states = _send(workspace, wave, source, copies, build_channels(workspace) | dict(channels or {}))
    details = {"channels": sorted({copy.model.channel for copy in copies}), "messages": len(copies)}
    workspace.store.audit("campaign.tested", plan_id, details)
    return states


def send_seeds(workspace: Workspace, wave: LoadedWave, ways: Mapping[str, Channel]) -> dict[str, int]:
    """Send each version of the wave to the seeds of its channel, once; state → deliveries, empty without seeds.

    BadInput when a seed is no address, before anything is sent.
    """
    seeds = {name: one.seeds for name, one in workspace.settings.contact.channels.items() if one.seeds}
    if not any(item.channel in seeds for item in wave.addressees):
        return {}
    copies = [
        _Copy(model, _check_address(model.channel, address))
        for model in _find_models(wave, None, None)
        for address in seeds.get(model.channel, ())
    ]
    return _send(workspace, wave, f"test:{wave.plan.wave.plan_id}:seeds", copies, ways)


@dataclass(frozen=True)
class _Copy:
    """What ``model`` would get, for ``address``; ``prefix`` goes before the subject, by language."""

    model: Addressee
    address: str = field(repr=False)
    prefix: Mapping[str, str] = field(default_factory=dict)


def _send(
    workspace: Workspace,
    wave: LoadedWave,
    source: str,
    copies: Sequence[_Copy],
    ways: Mapping[str, Channel],
) -> dict[str, int]:
    for name in {copy.model.channel for copy in copies}:
        if isinstance(way := ways.get(name), Unready):
            raise way.problem
    today = business_day(now(), workspace.settings.business.zone)
    items = [
        Intended(
            source, NOBODY, f"{copy.model.action_id}#{number}", copy.model.channel, today, 0, True, purpose="test",
            expires_ms=int(now().timestamp() * 1000) + _LIVES_MS,
        )
        for number, copy in enumerate(copies)
    ]  # fmt: skip
    composers = {
        item.delivery_id: _borrow(workspace, wave, copy, item)
        for item, copy in zip(items, copies, strict=True)
    }
    ledger = open_ledger(workspace)
    ledger.enqueue(items)
    for name in sorted({item.channel for item in items} & set(ways)):
        work(
            ledger,
            plan_id=source,
            channel_name=name,
            channel=ways[name],
            compose=lambda candidate: composers[candidate.delivery_id](candidate),
        )
    # What did not go out now never will.
    ledger.stop(source)
    states: dict[str, int] = {}
    for (_, state, _), (rows, _) in ledger.count_states(source).items():
        states[state] = states.get(state, 0) + rows
    return states


def _find_models(wave: LoadedWave, channel: str | None, customer_id: str | None) -> list[Addressee]:
    """One addressee for each version of what those get who fit, in the order of the plan; NotReady when nobody does."""
    found: dict[tuple[object, ...], Addressee] = {}
    for item in wave.addressees:
        if channel in (None, item.channel) and customer_id in (None, item.customer_id):
            content_id, detail = wave.find_content(item)
            version = (item.channel, item.action_id, content_id, detail.get("variant"), item.language)
            found.setdefault(version, item)
    if not found:
        raise NotReady(
            "deployment.nobody_to_test",
            say("The plan treats nobody like that."),
            remedy=say("Leave out --customer or --channel, or choose others."),
        )
    return list(found.values())


def _check_address(channel: str, address: str) -> str:
    column = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}.get(channel)
    found = address.strip() if column is None else find_recipient(channel, {column: address})
    if not found:
        raise BadInput(
            "deployment.bad_address",
            say("'{value}' is no address that this channel can use.", value=address),
            remedy=say("Give an address such as name@example.com, or a telephone number."),
            where={"value": address},
        )
    return found


def _borrow(
    workspace: Workspace, wave: LoadedWave, copy: _Copy, item: Intended
) -> Callable[[Candidate], Message]:
    """A composer of one message: the model's words, nobody's customer number, the tester's address."""
    plan_id, model, address = wave.plan.wave.plan_id, copy.model, copy.address
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
        subject = copy.prefix.get(message.language, "") + message.subject if message.subject else ""
        return replace(message, delivery_id=candidate.delivery_id, plan_id=candidate.plan_id, subject=subject)

    return make
