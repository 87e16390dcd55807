"""Actions: offers × channels × time slots with their costs and conditions, kept in the table ``actions``.

Reads and writes rows of that table. Where and to whom an action is offered on a day: ``strategy.eligibility``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.money import to_money
from aimwell.core.tables import ACTIONS, CHANNELS, SLOTS
from aimwell.core.text import Text, say
from aimwell.engine.settings import ChannelSettings
from aimwell.strategy.offers import Offer

IDENTIFIERS = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}
"""The column of ``customers`` without which a channel cannot reach anybody; the others need consent only."""

MOST = 10_000_000
"""Days and customers beyond which a number was not meant."""


@dataclass(frozen=True)
class Action:
    """What the optimiser chooses: one offer through one channel, at any time of the day or in one slot."""

    action_id: str
    offer: str
    title: Text
    channel: str
    department: str | None
    discount: float
    unit_cost: Decimal
    """Money of one contact."""
    redemption_cost: Decimal
    """Money of the offer when it is redeemed."""
    minutes: float
    """Call-centre minutes of one contact."""
    slot: str | None = None
    """When on a day it goes out; None: at any time."""
    valid_from: date | None = None
    valid_to: date | None = None
    """First and last business day on which it may reach a customer."""
    lead_days: int = 0
    """Business days from the plan's first to the contact: a call list, or letters that are printed."""
    exclusive_group: str | None = None
    """Of the actions of one group a customer holds one at a time."""
    minimum: int = 0
    """Customers that a plan gives it at least, when so many may have it: fewer would teach nothing."""
    rule: Mapping[str, Any] | None = field(default=None, hash=False)
    """Whom it is for, as ``engine.rule_json`` writes a rule; None: everybody."""

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise _refuse(self.action_id, "channel", self.channel)
        if self.slot is not None and self.slot not in SLOTS:
            raise _refuse(self.action_id, "slot", self.slot)
        for name, count in (("lead_days", self.lead_days), ("minimum", self.minimum)):
            if not 0 <= count <= MOST:
                raise _refuse(self.action_id, name, str(count))
        if self.valid_from and self.valid_to and self.valid_from > self.valid_to:
            raise _refuse(self.action_id, "valid_to", self.valid_to.isoformat())
        if not 0 <= self.discount <= 1:
            raise _refuse(self.action_id, "discount", str(self.discount))
        for name, amount in (("unit_cost", self.unit_cost), ("redemption_cost", self.redemption_cost)):
            if not amount.is_finite() or amount < 0:
                raise _refuse(self.action_id, name, str(amount))
        if not 0 <= self.minutes < float("inf"):
            raise _refuse(self.action_id, "minutes", str(self.minutes))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Action:
        """A row of the table ``actions``."""
        return cls(
            action_id=row["action_id"],
            offer=row["offer"],
            title=Text.from_json(row["title"]),
            channel=row["channel"],
            department=row["department"],
            discount=row["discount"],
            unit_cost=to_money(row["unit_cost"]),
            redemption_cost=to_money(row["redemption_cost"]),
            minutes=row["minutes"],
            slot=row.get("slot"),
            valid_from=row.get("valid_from"),
            valid_to=row.get("valid_to"),
            lead_days=row.get("lead_days") or 0,
            exclusive_group=row.get("exclusive_group"),
            minimum=row.get("minimum") or 0,
            rule=json.loads(row.get("rule") or "{}").get("rule"),
        )


def make_actions(offers: Sequence[Offer], channels: Mapping[str, ChannelSettings]) -> tuple[Action, ...]:
    """Every offer through every channel, in a fixed order; BadInput for a channel that is not known."""
    return tuple(_make_action(offer, name, channels[name]) for offer in offers for name in channels)


def _make_action(offer: Offer, channel: str, costs: ChannelSettings) -> Action:
    return Action(
        action_id=f"{offer.name}:{channel}",
        offer=offer.name,
        title=say("{offer}, by {channel}", offer=offer.title, channel=name_channel(channel)),
        channel=channel,
        department=offer.department,
        discount=offer.discount,
        unit_cost=to_money(costs.unit_cost),
        redemption_cost=offer.redemption_cost,
        minutes=costs.minutes,
    )


def build_action_rows(actions: Sequence[Action], run_id: str) -> pa.Table:
    """The table ``actions``; its rule says which identifier and consent a customer needs."""
    return ACTIONS.build(
        [
            {
                "action_id": action.action_id,
                "offer": action.offer,
                "title": action.title.to_json(),
                "channel": action.channel,
                "department": action.department,
                "discount": action.discount,
                "unit_cost": action.unit_cost,
                "redemption_cost": action.redemption_cost,
                "minutes": action.minutes,
                "rule": json.dumps(_write_rule(action), ensure_ascii=False),
                "slot": action.slot,
                "valid_from": action.valid_from,
                "valid_to": action.valid_to,
                "lead_days": action.lead_days or None,
                "exclusive_group": action.exclusive_group,
                "minimum": action.minimum or None,
                "run_id": run_id,
            }
            for action in actions
        ]
    )


def _write_rule(action: Action) -> dict[str, Any]:
    needs = {"consent": action.channel, "identifier": IDENTIFIERS.get(action.channel)}
    return needs if action.rule is None else {**needs, "rule": action.rule}


def name_slot(slot: str) -> Text:
    """The time slot's name for people."""
    names = {"morning": say("morning"), "afternoon": say("afternoon"), "evening": say("evening")}
    return names.get(slot, say("{name}", name=slot))


def name_channel(channel: str) -> Text:
    """The channel's name for people."""
    names = {
        "email": say("e-mail"),
        "sms": say("SMS"),
        "push": say("push"),
        "wechat": say("WeChat"),
        "call": say("call"),
        "mail": say("direct mail"),
        "web": say("web"),
        "ad": say("ad"),
    }
    return names[channel]


def _refuse(action: str, column: str, value: str) -> BadInput:
    return BadInput(
        "strategy.bad_action",
        say(
            "The action '{action}' has an unusable {column}: {value}.",
            action=action,
            column=column,
            value=value,
        ),
        remedy=say(
            "Costs, minutes, days and counts are 0 or more, a discount lies between 0 and 1, channel and slot are "
            "known ones, and the first valid day is not after the last."
        ),
        where={"table": "actions", "column": column, "value": value},
    )
