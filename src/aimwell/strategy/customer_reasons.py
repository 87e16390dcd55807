"""For one customer: why this action, and for each other action why not it.

Each action is weighed by its expected profit with interval, its cost, and the price of the scarce resources that it
uses, and of earlier contacts; what is excluded says by which rule. ``read_exclusions`` reads ``customers``,
``consents``, ``events`` and what ``eligibility`` does; the rest is pure. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.core.time import find_knowledge_end
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.strategy.actions import IDENTIFIERS, Action, name_channel
from aimwell.strategy.eligibility import read_conditions
from aimwell.strategy.explain import price_usage, say_chosen, show_range
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.planner import Z, split_audience
from aimwell.strategy.problem import Reals
from aimwell.strategy.scenarios import Solved

Status = Literal[
    "chosen", "beaten", "priced_out", "unprofitable", "limited", "unknown", "excluded", "held_out"
]
EVERY_CHANNEL = "*"
EFFECT = "posterior mean and standard deviation of the effect, less the unit cost"
IDENTIFIERS_SQL = "SELECT email, phone, address FROM customers WHERE customer_id = $customer"
CONSENTS_SQL = f"""
WITH latest AS (
{select_consents(purpose="marketing", where="customer_id = $customer")}
)
SELECT channel, allowed, answered FROM latest
"""
CONTACTS_SQL = """
SELECT COUNT(DISTINCT event_id) AS contacts
FROM events
WHERE name = 'Message Sent' AND customer_id = $customer AND occurred_on >= $since AND occurred_on < $as_of
"""


@dataclass(frozen=True)
class ActionReason:
    """One action for one customer: what it is worth, and why it was or was not chosen; money."""

    action: int
    status: Status
    profit: Estimate | None
    """After costs; None where nothing is known of it."""
    cost: float
    resources: float
    """Price of the scarce resources that it uses, at the shadow prices."""
    by_limit: tuple[tuple[str, float], ...]
    """The limits that it uses and what that is worth, dearest first."""
    reason: Text
    pressure: float = 0.0
    """What the customer's contacts of the last days take off it; money."""
    doubt: float = 0.0
    """What caution takes off it; money."""

    @property
    def net(self) -> float | None:
        """What it competes with: expected profit less the price of resources, contact pressure and caution."""
        if self.profit is None:
            return None
        return self.profit.estimate - self.resources - self.pressure - self.doubt

    def to_dict(self, inputs: PlanInputs) -> dict[str, Any]:
        """For JSON."""
        action = inputs.actions[self.action]
        return {
            "action_id": action.action_id,
            "title": action.title.both(),
            "status": self.status,
            "expected_profit": None if self.profit is None else self.profit.estimate,
            "interval": None if self.profit is None else [self.profit.lower, self.profit.upper],
            "cost": self.cost,
            "resources": self.resources,
            "pressure": self.pressure,
            "doubt": self.doubt,
            "by_limit": [{"id": name, "price": price} for name, price in self.by_limit],
            "net": self.net,
            "reason": self.reason.both(),
        }


def explain_actions(
    solved: Solved, customer: int, exclusions: Mapping[str, Text]
) -> tuple[ActionReason, ...]:
    """Every action of the inputs for one customer: the chosen first, then by what is left, then the excluded.

    ``exclusions``: action or channel → rule, as ``read_exclusions`` finds them.
    """
    inputs = solved.inputs
    rows = inputs.build_rows()
    priced = price_usage(rows, solved.solution.prices, np.array([customer]))
    prices = priced[:, 0] if len(priced) else np.zeros((0, len(inputs.actions)))
    _, held = split_audience(inputs)
    chosen = int(solved.chosen[customer])
    found = [
        _explain(solved, customer, action, prices[:, action], chosen, exclusions, held_out=customer in held)
        for action in range(len(inputs.actions))
    ]
    return tuple(sorted(found, key=_rank))


def _rank(item: ActionReason) -> tuple[int, float, int]:
    order = 0 if item.status == "chosen" else 2 if item.status in ("excluded", "unknown") else 1
    return (order, 0.0 if item.net is None else -item.net, item.action)


def _explain(
    solved: Solved,
    customer: int,
    action: int,
    prices: Reals,
    chosen: int,
    exclusions: Mapping[str, Text],
    *,
    held_out: bool,
) -> ActionReason:
    inputs = solved.inputs
    used = sorted(zip(inputs.limits, prices.tolist(), strict=True), key=lambda pair: -pair[1])
    by_limit = tuple((limit.limit_id, price) for limit, price in used if price > 0)
    profit = _estimate(inputs, customer, action)
    item = ActionReason(
        action,
        "excluded",
        profit,
        float(inputs.cost_cents[customer, action]) / 100,
        float(prices.sum()),
        by_limit,
        say("Not allowed for this customer."),
        0.0 if inputs.pressure is None else float(inputs.pressure[customer]),
        inputs.caution * float(inputs.error[customer, action]),
    )
    status, reason = _judge(solved, customer, item, chosen, exclusions, held_out=held_out)
    return replace(item, status=status, reason=reason)


def _estimate(inputs: PlanInputs, customer: int, action: int) -> Estimate | None:
    if not inputs.known[customer, action]:
        return None
    middle, error = float(inputs.profit[customer, action]), float(inputs.error[customer, action])
    return Estimate(middle, middle - Z * error, middle + Z * error, 1, EFFECT)


def _judge(
    solved: Solved,
    customer: int,
    item: ActionReason,
    chosen: int,
    exclusions: Mapping[str, Text],
    *,
    held_out: bool,
) -> tuple[Status, Text]:
    inputs = solved.inputs
    if not inputs.eligible[customer, item.action]:
        action = inputs.actions[item.action]
        keys = (action.action_id, action.channel, EVERY_CHANNEL)
        rule = next((exclusions[key] for key in keys if key in exclusions), item.reason)
        return "excluded", say("Excluded: {rule}", rule=rule)
    if item.profit is None:
        return "unknown", say("No experiment has shown what this action causes; a pilot would.")
    if held_out:
        return "held_out", say(
            "Held out of all marketing, to measure what marketing causes; expected {profit}.",
            profit=show_range(item.profit, inputs.currency),
        )
    if item.action == chosen:
        return "chosen", _say_chosen(inputs, item)
    return _weigh(solved, item, chosen)


def _weigh(solved: Solved, item: ActionReason, chosen: int) -> tuple[Status, Text]:
    """Why an allowed action with a known effect was not chosen."""
    inputs, profit = solved.inputs, item.profit
    assert profit is not None and item.net is not None
    shown = show_range(profit, inputs.currency)
    # A minimum can make up for a loss.
    if profit.estimate <= 0 and item.net <= 0:
        return "unprofitable", say("Expected {profit}: it costs more than it brings.", profit=shown)
    if item.net <= 0 and item.resources < item.pressure + item.doubt:
        return "unprofitable", say(
            "Expected {profit}, but earlier contacts count {pressure} and its uncertainty {doubt} against it.",
            profit=shown,
            pressure=show_money(item.pressure, inputs.currency),
            doubt=show_money(item.doubt, inputs.currency),
        )
    if item.net <= 0:
        limit = next(limit for limit in inputs.limits if limit.limit_id == item.by_limit[0][0])
        return "priced_out", say(
            "Expected {profit}, but what it uses earns {price} elsewhere, most of it by the limit on {limit}.",
            profit=shown,
            price=show_money(item.resources, inputs.currency),
            limit=limit.title,
        )
    left = show_money(item.net, inputs.currency)
    if chosen >= 0 and item.pressure + item.doubt > 0:
        return "beaten", say(
            "Expected {profit}; {left} are left after the price of what it uses, {pressure} for earlier contacts and "
            "{doubt} for its uncertainty, and {action} leaves more.",
            profit=shown,
            left=left,
            pressure=show_money(item.pressure, inputs.currency),
            doubt=show_money(item.doubt, inputs.currency),
            action=inputs.actions[chosen].title,
        )
    if chosen >= 0:
        return "beaten", say(
            "Expected {profit}; {left} are left after the price of what it uses, and {action} leaves more.",
            profit=shown,
            left=left,
            action=inputs.actions[chosen].title,
        )
    return "limited", say(
        "Expected {profit}: nearly a tie at today's prices; the limits leave no room for one more.",
        profit=shown,
    )


def _say_chosen(inputs: PlanInputs, item: ActionReason) -> Text:
    assert item.profit is not None
    shown, cost = show_range(item.profit, inputs.currency), show_money(item.cost, inputs.currency)
    if item.pressure > 0:
        return say(
            "Chosen: expected {profit} for {cost}; what it uses would earn {price} elsewhere, and earlier contacts "
            "count {pressure} against it.",
            profit=shown,
            cost=cost,
            price=show_money(max(0.0, item.resources), inputs.currency),
            pressure=show_money(item.pressure, inputs.currency),
        )
    return say_chosen(shown, cost, item.resources, inputs.currency)


def summarise_choice(reasons: Sequence[ActionReason], inputs: PlanInputs) -> Text:
    """One sentence: what the customer gets, and why not the next."""
    if not any(item.profit is not None and item.status != "excluded" for item in reasons):
        return say(
            "Nothing can be chosen for this customer: every action is excluded or has no known effect."
        )
    first = reasons[0]
    others = [item for item in reasons[1:] if item.status not in ("excluded", "unknown")]
    if first.status == "held_out":
        return first.reason
    if first.status != "chosen":
        return say(
            "No action. The nearest, {action}: {reason}", action=_title(inputs, first), reason=first.reason
        )
    if not others:
        return say(
            "{action}. {reason} No other action is allowed.",
            action=_title(inputs, first),
            reason=first.reason,
        )
    return say(
        "{action}. {reason} Next, {other}: {why_not}",
        action=_title(inputs, first),
        reason=first.reason,
        other=_title(inputs, others[0]),
        why_not=others[0].reason,
    )


def _title(inputs: PlanInputs, item: ActionReason) -> Text:
    return inputs.actions[item.action].title


def read_exclusions(
    queryable: Queryable,
    settings: Settings,
    customer: str,
    *,
    as_of: date,
    actions: Sequence[Action] = (),
    days: int = 28,
) -> dict[str, Text]:
    """The rule by which an action, or each of the settings' channels, is excluded for a customer; "*": all of them.

    The same rules as ``load.read_audience`` (contact cap, consent, and the identifier that a channel needs) and, for
    a plan of ``days`` days, ``eligibility.read_conditions`` (validity, lead time, rule, exclusivity).
    """
    conditions = read_conditions(queryable, actions, (customer,), as_of=as_of, days=days)
    told = ((action.action_id, conditions.explain(action, customer)) for action in actions)
    found = {name: rule for name, rule in told if rule is not None}
    cap = _read_contacts(queryable, settings, customer, as_of)
    if cap is not None:
        return {**found, **dict.fromkeys([*settings.channels, EVERY_CHANNEL], cap)}
    until = find_knowledge_end(as_of, settings.business.zone)
    rows = queryable.query(CONSENTS_SQL, {**bind_instant(until), "customer": customer}).to_pylist()
    said = {row["channel"]: row for row in rows}
    known = queryable.query(IDENTIFIERS_SQL, {"customer": customer}).to_pylist()
    for channel in settings.channels:
        rule = _find_rule(channel, said.get(channel), known[0] if known else {})
        if rule is not None:
            found[channel] = rule
    return found


def _read_contacts(queryable: Queryable, settings: Settings, customer: str, as_of: date) -> Text | None:
    contact = settings.contact
    # As the ledger counts it: the window of ``cap_days`` days ends with the day of the contact.
    since = as_of - timedelta(days=contact.cap_days - 1)
    bounds = {"customer": customer, "since": since, "as_of": as_of}
    count = int(queryable.query(CONTACTS_SQL, bounds)["contacts"][0].as_py())
    if count < contact.cap:
        return None
    return say(
        "contact cap: {count} contacts since {since}, and {cap} in {days} days are allowed.",
        count=count,
        since=since.isoformat(),
        cap=contact.cap,
        days=contact.cap_days,
    )


def _find_rule(channel: str, said: Mapping[str, Any] | None, known: Mapping[str, Any]) -> Text | None:
    title = name_channel(channel)
    if said is None:
        return say("no consent to {channel} is known.", channel=title)
    if not said["answered"]:
        return say("consent to {channel} was refused or withdrawn.", channel=title)
    if not said["allowed"]:
        return say("consent to {channel} has ended.", channel=title)
    needed = IDENTIFIERS.get(channel)
    if needed is None or str(known.get(needed) or "").strip():
        return None
    missing = {
        "email": say("no e-mail address is known."),
        "phone": say("no phone number is known."),
        "address": say("no postal address is known."),
    }
    return missing[needed]
