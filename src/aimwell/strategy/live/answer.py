"""A live decision in words: why this action, and for each other one why not, at the very prices of that moment.

Reads the store's ``suppressions`` and ``consent_states``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa

from aimwell.core.estimate import Estimate
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.engine.ledger_tables import CONSENT_STATES
from aimwell.engine.permissions import ALL_CHANNELS, list_suppressions
from aimwell.engine.store import Store
from aimwell.strategy.actions import name_channel
from aimwell.strategy.customer_reasons import EFFECT
from aimwell.strategy.explain import say_chosen, show_range
from aimwell.strategy.live.kernels import find_passed, set_prices
from aimwell.strategy.live.plan import LiveLimit, LivePlan
from aimwell.strategy.live.profiles import Pair, Profile, Told
from aimwell.strategy.live.requests import REASONS, Decision
from aimwell.strategy.planner import Z
from aimwell.strategy.problem import Integers, Reals

Status = Literal["chosen", "beaten", "priced_out", "unprofitable", "limited", "excluded"]
_STOPPED = ("holdout", "cap")
"""Reasons for which no action at all was weighed."""


@dataclass(frozen=True)
class Moment:
    """What a decision was made by."""

    decision: Decision
    profile: Profile
    told: Told
    used: Integers
    """Of each limit, before the decision."""
    at_ms: int
    currency: str


def find_prices(plan: LivePlan, used: Integers, at_ms: int) -> Reals:
    """The price of each limit, money per whole unit, when ``used`` is used of them."""
    prices = np.empty(len(plan.limits))
    passed = find_passed(at_ms, plan.starts_ms, plan.ends_ms, np.array(plan.rhythm))
    set_prices(
        used,
        np.array([limit.bound for limit in plan.limits], dtype=np.int64),
        np.array([limit.sign for limit in plan.limits], dtype=np.int64),
        np.array([limit.price for limit in plan.limits], dtype=np.float64),
        np.array([limit.gain for limit in plan.limits], dtype=np.float64),
        passed,
        prices,
    )
    return prices


def explain_decision(store: Store, plan: LivePlan, moment: Moment) -> dict[str, Any]:
    """The answer for people and programs; texts in both languages."""
    decision, prices = moment.decision, find_prices(plan, moment.used, moment.at_ms)
    rules = read_rules(store, plan, decision.customer_id, moment.at_ms)
    weighed = [_Weighed.of(plan, moment, prices, place) for place in range(len(plan.actions))]
    lines = [_explain(plan, moment, item, rules) for item in weighed]
    lines.sort(
        key=lambda line: (line["status"] != "chosen", line["status"] == "excluded", -(line["net"] or 0))
    )
    until = None if plan.hold_ms is None or decision.action_id is None else moment.at_ms + plan.hold_ms
    return {
        "plan_id": plan.plan_id,
        "request_id": decision.request_id,
        "customer_id": decision.customer_id,
        "action_id": decision.action_id,
        "title": None if decision.action_id is None else _title(plan, decision.action_id).both(),
        "probability": decision.probability,
        "choices": decision.choices,
        "reason": decision.reason,
        "why": REASONS[decision.reason].both(),
        "expected_profit": decision.expected_profit,
        "cost": decision.cost_cents / 100,
        "confirm_until": None if until is None else datetime.fromtimestamp(until / 1000, UTC).isoformat(),
        "repeated": decision.repeated,
        "prices": [
            describe_price(limit, float(price)) for limit, price in zip(plan.limits, prices, strict=True)
        ],
        "actions": lines,
        "currency": moment.currency,
    }


def describe_price(limit: LiveLimit, price: float) -> dict[str, Any]:
    """A limit's price per unit as people count it: money, minutes, pieces."""
    scale = count_shown(limit)
    return {
        "id": limit.name,
        "title": name_limit(limit).both(),
        "unit": {"cents": "money", "seconds": "minutes"}.get(limit.unit, limit.unit),
        "price": price * scale,
        "plan_price": limit.price * scale,
    }


def count_shown(limit: LiveLimit) -> float:
    """How many whole units of a limit make one as people count it."""
    return {"cents": 100.0, "seconds": 60.0}.get(limit.unit, 1.0)


def name_limit(limit: LiveLimit) -> Text:
    """The limit for people."""
    return Text.from_json(limit.title) if limit.title else Text(limit.name)


def read_rules(store: Store, plan: LivePlan, customer: str, at_ms: int) -> dict[str, Text]:
    """Channel of the plan → why it is forbidden for the customer, as the decision's transaction sees it."""
    columns = CONSENT_STATES.c
    query = sa.select(columns.channel, columns.allowed, columns.until_ms).where(
        columns.customer_id == customer
    )
    with store.snapshot() as connection:
        said = {row.channel: row for row in connection.execute(query)}
        suppressed = {entry.channel for entry in list_suppressions(connection, [customer])}
    rules: dict[str, Text] = {}
    for channel in {channel for channel in plan.channels if channel is not None}:
        title, consent = name_channel(channel), said.get(channel)
        if suppressed & {channel, ALL_CHANNELS}:
            rules[channel] = say("the customer is on the suppression list.")
        elif consent is None:
            rules[channel] = say("no consent to {channel} is known.", channel=title)
        elif not consent.allowed:
            rules[channel] = say("consent to {channel} was refused or withdrawn.", channel=title)
        elif consent.until_ms is not None and consent.until_ms <= at_ms:
            rules[channel] = say("consent to {channel} has ended.", channel=title)
    return rules


@dataclass(frozen=True)
class _Weighed:
    """One action at these prices; money."""

    place: int
    pair: Pair | None
    resources: float
    dearest: LiveLimit | None
    full: LiveLimit | None
    """A limit that has no room for it."""

    @classmethod
    def of(cls, plan: LivePlan, moment: Moment, prices: Reals, place: int) -> _Weighed:
        pair = moment.profile.pairs.get(plan.actions[place])
        if pair is None:
            return cls(place, None, 0.0, None, None)
        told = moment.told.profit.get(plan.actions[place])
        pair = pair if told is None else Pair(told, pair.error, pair.cost_cents, pair.handicap)
        total, most, dearest, full = 0.0, 0.0, None, None
        for limit, price, used in zip(plan.limits, prices.tolist(), moment.used.tolist(), strict=True):
            use = int(limit.table[moment.profile.segment, place]) * (pair.cost_cents if limit.of_cost else 1)
            worth = limit.sign * price * use
            total += worth
            if worth > most:
                most, dearest = worth, limit
            if limit.sense == "at_most" and used + use > limit.bound:
                full = full or limit
        return cls(place, pair, total, dearest, full)

    @property
    def net(self) -> float:
        """What is left after the price of what it uses."""
        return 0.0 if self.pair is None else self.pair.profit - self.pair.handicap - self.resources


def _explain(plan: LivePlan, moment: Moment, item: _Weighed, rules: Mapping[str, Text]) -> dict[str, Any]:
    status, reason = _judge(plan, moment, item, rules)
    pair = item.pair
    return {
        "action_id": plan.actions[item.place],
        "title": _title(plan, plan.actions[item.place]).both(),
        "status": status,
        "expected_profit": None if pair is None else pair.profit,
        "interval": None if pair is None else [pair.profit - Z * pair.error, pair.profit + Z * pair.error],
        "cost": None if pair is None else pair.cost_cents / 100,
        "handicap": 0.0 if pair is None else pair.handicap,
        "resources": item.resources,
        "net": None if pair is None else item.net,
        "reason": reason.both(),
    }


def _judge(plan: LivePlan, moment: Moment, item: _Weighed, rules: Mapping[str, Text]) -> tuple[Status, Text]:
    name, channel, decision = plan.actions[item.place], plan.channels[item.place], moment.decision
    if item.pair is None:
        missing = say("not possible for this customer when the day was opened, or its effect is not known.")
        return "excluded", say("Excluded: {rule}", rule=missing)
    if name == decision.action_id:
        return "chosen", _say_chosen(moment, item, item.pair)
    if not moment.told.allows(plan, item.place):
        return "excluded", say("Excluded: {rule}", rule=say("not possible now, as the context says."))
    if channel is not None and channel in rules:
        return "excluded", say("Excluded: {rule}", rule=rules[channel])
    if decision.reason in _STOPPED:
        return "excluded", REASONS[decision.reason]
    return _weigh(plan, moment, item, item.pair)


def _weigh(plan: LivePlan, moment: Moment, item: _Weighed, pair: Pair) -> tuple[Status, Text]:
    shown = _show_profit(moment, pair)
    if item.net <= 0:
        if item.dearest is None or pair.profit <= 0:
            return "unprofitable", say("Expected {profit}: it costs more than it brings.", profit=shown)
        return "priced_out", say(
            "Expected {profit}, but what it uses earns {price} elsewhere, most of it by the limit on {limit}.",
            profit=shown,
            price=show_money(item.resources, moment.currency),
            limit=name_limit(item.dearest),
        )
    if item.full is not None:
        return "limited", say(
            "Expected {profit}, but there is no room left: {limit}.",
            profit=shown,
            limit=name_limit(item.full),
        )
    chosen = moment.decision.action_id
    left = show_money(item.net, moment.currency)
    if chosen is None:
        return "beaten", say("Expected {profit}; {left} are left after the price of what it uses.",
                             profit=shown, left=left)  # fmt: skip
    if moment.decision.reason == "explored":
        return "beaten", say(
            "Expected {profit}; {left} are left after the price of what it uses. Another was drawn, in order to learn.",
            profit=shown,
            left=left,
        )
    return "beaten", say(
        "Expected {profit}; {left} are left after the price of what it uses, and {action} leaves more.",
        profit=shown,
        left=left,
        action=_title(plan, chosen),
    )


def _say_chosen(moment: Moment, item: _Weighed, pair: Pair) -> Text:
    shown, cost = _show_profit(moment, pair), show_money(pair.cost_cents / 100, moment.currency)
    return say_chosen(shown, cost, item.resources, moment.currency)


def _show_profit(moment: Moment, pair: Pair) -> Text:
    half = Z * pair.error
    return show_range(
        Estimate(pair.profit, pair.profit - half, pair.profit + half, 1, EFFECT), moment.currency
    )


def _title(plan: LivePlan, action: str) -> Text:
    if not plan.action_titles:
        return Text(action)
    return Text.from_json(plan.action_titles[plan.actions.index(action)])
