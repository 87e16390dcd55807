"""Actions: offers × channels with their costs, kept in the table ``actions`` (read and written here)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.money import to_money
from aimwell.core.tables import ACTIONS, CHANNELS
from aimwell.core.text import Text, say
from aimwell.engine.settings import ChannelSettings
from aimwell.strategy.offers import Offer

IDENTIFIERS = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}
"""The column of ``customers`` without which a channel cannot reach anybody; the others need consent only."""


@dataclass(frozen=True)
class Action:
    """What the optimiser chooses: one offer through one channel."""

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

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise _refuse(self.action_id, "channel", self.channel)
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
                "rule": json.dumps(
                    {"consent": action.channel, "identifier": IDENTIFIERS.get(action.channel)}
                ),
                "run_id": run_id,
            }
            for action in actions
        ]
    )


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
            "Costs and minutes are 0 or more, a discount lies between 0 and 1, and the channel is a known one."
        ),
        where={"table": "actions", "column": column, "value": value},
    )
