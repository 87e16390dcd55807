"""The limits that a workspace's settings and stock put on a plan. Reads and writes no tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from aimwell.core.errors import BadInput
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


def read_offer_title(action: Action) -> Text | str:
    """The title of the action's offer, without the channel."""
    value = dict(action.title.parameters).get("offer")
    return value if isinstance(value, Text) else action.offer
