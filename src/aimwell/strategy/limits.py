"""The limits that a workspace's settings and stock put on a plan. Reads and writes no tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.strategy.actions import Action
from aimwell.strategy.inputs import Limit


def build_limits(
    actions: Sequence[Action], *, budget: Decimal, call_minutes: float, stock: Mapping[str, int]
) -> tuple[Limit, ...]:
    """Budget, call-centre minutes (when an action uses any), and stock of each offer; BadInput for a negative one."""
    if not budget.is_finite() or budget < 0:
        raise BadInput(
            "strategy.bad_budget",
            say("The budget is {value}.", value=str(budget)),
            remedy=say("A budget is 0 or more."),
            where={"column": "budget", "value": str(budget)},
        )
    limits = [Limit("budget", say("Budget"), "money", float(budget))]
    if any(action.minutes > 0 for action in actions):
        limits.append(Limit("call_minutes", say("Call minutes"), "minutes", call_minutes))
    for offer in dict.fromkeys(action.offer for action in actions):
        if offer in stock:
            same = [action for action in actions if action.offer == offer]
            title = say("Stock of {offer}", offer=read_offer_title(same[0]))
            ids = tuple(action.action_id for action in same)
            limits.append(Limit(f"stock:{offer}", title, "offers", float(stock[offer]), actions=ids))
    return tuple(limits)


def build_test_minimums(actions: Sequence[Action]) -> tuple[Limit, ...]:
    """At least so many customers of each action that asks for it, where so many may have it."""
    return tuple(
        Limit(
            f"minimum:{action.action_id}",
            say("Test volume: {action}", action=action.title),
            "contacts",
            float(action.minimum),
            "at_least",
            (action.action_id,),
            if_room=True,
        )
        for action in actions
        if action.minimum
    )


def read_offer_title(action: Action) -> Text | str:
    """The title of the action's offer, without the channel."""
    value = dict(action.title.parameters).get("offer")
    return value if isinstance(value, Text | str) else action.offer


def describe_limit(limit: Limit, currency: str) -> Text:
    """A limit with its amount: Budget: at most $150.00."""
    amounts: dict[str, Text | str] = {
        "money": show_money(limit.limit, currency),
        "minutes": say("{count} minutes", count=f"{limit.limit:,.0f}"),
        "offers": say("{count} offers", count=f"{limit.limit:,.0f}"),
        "contacts": say("{count} customers", count=f"{limit.limit:,.0f}"),
        "percent": say("{count} %", count=f"{limit.limit:g}"),
    }
    amount = amounts[limit.unit]
    if limit.sense == "at_least":
        return say("{limit} (at least {amount})", limit=limit.title, amount=amount)
    return say("{limit} (at most {amount})", limit=limit.title, amount=amount)


def retitle_conflict(conflict: Conflict, limits: Sequence[Limit], currency: str) -> Conflict:
    """The same error with the titles and amounts of the limits that conflict in place of their names in code."""
    names = dict(conflict.message.parameters).get("names")
    by_name = {limit.limit_id: limit for limit in limits}
    found = [by_name[name] for name in str(names or "").split(", ") if name in by_name]
    if conflict.code != "strategy.contradictory_limits" or not found:
        return conflict
    told = _describe_limits(found, currency)
    message = (
        say("No plan can keep this limit: {names}.", names=told)
        if len(found) == 1
        else say("No plan can keep these limits together: {names}.", names=told)
    )
    return Conflict(conflict.code, message, remedy=conflict.remedy, where=dict(conflict.where or {}))


def refuse_pilot(broken: Sequence[Limit], currency: str) -> Conflict:
    """The error where a pilot drawn at random cannot reach its minimums."""
    return Conflict(
        "strategy.pilot_minimums",
        say("A pilot drawn at random cannot keep: {names}.", names=_describe_limits(broken, currency)),
        remedy=say("Lower the minimum, or raise the pilot's share or what limits it."),
        where={"column": broken[0].limit_id},
    )


def _describe_limits(limits: Sequence[Limit], currency: str) -> Text:
    told = describe_limit(limits[0], currency)
    for limit in limits[1:]:
        told = say("{first}; {second}", first=told, second=describe_limit(limit, currency))
    return told
