"""What ``aimwell strategy frontier``, ``explain`` and ``compare`` answer, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from aimwell.cli.naming import name_arm
from aimwell.cli.output import add_row, in_language, make_number_table, read_money, show_amount
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import Text, say
from aimwell.strategy.customer_reasons import explain_actions, summarise_choice
from aimwell.strategy.explain import price_usage, rank_alternatives
from aimwell.strategy.frontier import describe_frontier, trace_frontier
from aimwell.strategy.scenarios import (
    Scenario,
    ask_minimum,
    change_budget,
    compare_scenarios,
    leave_out_channel,
    leave_out_limit,
    list_usual_scenarios,
    read_budget,
    solve,
)
from aimwell.strategy.worth import cost_limits, describe_margin, find_marginal

if TYPE_CHECKING:
    from aimwell.strategy.inputs import PlanInputs


def require_effects(inputs: PlanInputs) -> None:
    """NotReady as long as no effect is known."""
    if not inputs.has_effects:
        raise NotReady(
            "strategy.no_effects",
            say("No effect of any action is known yet, so no plan can be optimised."),
            remedy=say("Run a pilot first: aimwell strategy plan --wave pilot"),
        )


def make_frontier(inputs: PlanInputs) -> dict[str, Any]:
    """Budget → profit, what each limit costs, who stands at the margin, and all that in words."""
    require_effects(inputs)
    points = trace_frontier(inputs)
    base = solve(inputs)
    last, following = find_marginal(base)
    return {
        "frontier": [point.to_dict() for point in points],
        "sentences": [text.both() for text in describe_frontier(points, inputs.currency)],
        "limits": [cost.to_dict(inputs.currency) for cost in cost_limits(base)],
        "marginal": {
            "last_in": None if last is None else last.to_dict(inputs),
            "next_in_line": None if following is None else following.to_dict(inputs),
            "sentences": [text.both() for text in describe_margin(base)],
        },
        "currency": inputs.currency,
    }


def draw_frontier(console: Console, payload: dict[str, Any]) -> None:
    """The frontier as a table, and what it says."""
    currency = payload["currency"]
    table = make_number_table(
        say("Budget"),
        say("Expected profit"),
        say("95 % for all at once"),
        say("Against today"),
        say("No plan earns more than"),
        say("Customers"),
    )
    for point in payload["frontier"]:
        band = f"{show_amount(point['band_lower'], currency)} … {show_amount(point['band_upper'], currency)}"
        add_row(
            table,
            show_amount(point["budget"], currency) + (" ◀" if point["today"] else ""),
            show_amount(point["profit"], currency),
            band,
            _show_gain(point, currency),
            show_amount(point["upper_bound"], currency),
            str(point["chosen"]),
        )
    console.print(table)
    told = [*payload["sentences"], *(row["sentence"] for row in payload["limits"])]
    for text in [*told, *payload["marginal"]["sentences"]]:
        console.print(f"• {in_language(text)}", markup=False, highlight=False)


def _show_gain(point: Mapping[str, Any], currency: str) -> str:
    if point["gain"] is None or point["today"]:
        return ""
    lower, upper = show_amount(point["gain_lower"], currency), show_amount(point["gain_upper"], currency)
    return f"{show_amount(point['gain'], currency)} [{lower}, {upper}]"


def explain_customer(
    inputs: PlanInputs, customer: str, exclusions: Mapping[str, Text], latest: dict[str, Any] | None
) -> dict[str, Any]:
    """Every action for one customer, what it is worth and why it was or was not chosen; BadInput when unknown."""
    if customer not in inputs.customers:
        raise BadInput(
            "strategy.unknown_customer",
            say("The customer '{customer}' is not known.", customer=customer),
            remedy=say("Look at the spelling, or add the customer's data."),
            where={"column": "customer_id", "value": customer},
        )
    place = inputs.customers.index(customer)
    allowed = [inputs.actions[i].action_id for i in np.flatnonzero(inputs.eligible[place])]
    found: dict[str, Any] = {
        "customer_id": customer,
        "latest": latest,
        "allowed": allowed,
        "excluded": {channel: rule.both() for channel, rule in sorted(exclusions.items())},
        "alternatives": [],
        "actions": [],
        "sentence": None,
        "currency": inputs.currency,
    }
    if not inputs.has_effects:
        return found
    solved = solve(inputs)
    reasons = explain_actions(solved, place, exclusions)
    priced = price_usage(inputs.build_rows(), solved.solution.prices, np.array([place]))
    ranked = rank_alternatives(inputs, priced[:, 0] if len(priced) else priced, place)
    found["actions"] = [reason.to_dict(inputs) for reason in reasons]
    found["sentence"] = summarise_choice(reasons, inputs).both()
    found["alternatives"] = [
        {
            "action_id": inputs.actions[item.action].action_id,
            "title": inputs.actions[item.action].title.both(),
            "expected_profit": item.profit,
            "resources": item.resources,
            "net": item.net,
        }
        for item in ranked
    ]
    return found


def draw_customer(console: Console, payload: dict[str, Any]) -> None:
    """One customer's actions and reasons."""
    latest, currency = payload["latest"], payload["currency"]
    if latest is not None:
        told = say(
            "{plan} ({arm}): {reason}",
            plan=latest["plan_id"],
            arm=name_arm(latest["arm"]),
            reason=in_language(latest["reason"]),
        )
        console.print(str(told), markup=False, highlight=False)
    if not payload["allowed"]:
        _say(console, say("Nothing may be sent to this customer: consent, address or contact cap forbid it."))
        for rule in dict.fromkeys(in_language(rule) for rule in payload["excluded"].values()):
            console.print(f"• {rule}", markup=False, highlight=False)
        return
    if not payload["alternatives"]:
        _say(console, say("No effect is known yet for this customer's actions: run a pilot first."))
        return
    _print_words(console, in_language(payload["sentence"]))
    table = make_number_table(
        say("Action"), say("Expected profit"), say("Price of what it uses"), say("Left")
    )
    for item in payload["actions"]:
        if item["expected_profit"] is not None and item["status"] != "excluded":
            amounts = [show_amount(item[name], currency) for name in ("expected_profit", "resources", "net")]
            add_row(table, in_language(item["title"]), *amounts)
    console.print(table)
    for item in payload["actions"]:
        _print_words(console, "• " + _tell(item, "reason"))


def make_comparison(
    inputs: PlanInputs,
    *,
    budgets: Sequence[str],
    without: Sequence[str],
    minimums: Sequence[str],
) -> dict[str, Any]:
    """The base and each scenario that was asked for (the usual ones when none was), side by side."""
    require_effects(inputs)
    asked = [
        *(change_budget(inputs, _read_budget(inputs, value)) for value in budgets),
        *(_leave_out(inputs, part) for part in without),
        *(_ask_minimum(inputs, value) for value in minimums),
    ]
    scenarios = asked or list_usual_scenarios(inputs)
    return {"scenarios": compare_scenarios(inputs, scenarios), "currency": inputs.currency}


def _leave_out(inputs: PlanInputs, part: str) -> Scenario:
    if any(limit.limit_id == part for limit in inputs.limits):
        return leave_out_limit(inputs, part)
    return leave_out_channel(inputs, part)


def _ask_minimum(inputs: PlanInputs, value: str) -> Scenario:
    part, _, count = value.rpartition("=")
    if not part or not count.isdecimal():
        raise BadInput(
            "strategy.bad_minimum",
            say("'{value}' is not a minimum.", value=value),
            remedy=say("Write it as sms=500: a channel, offer or action, and a number of customers."),
            where={"column": "minimum", "value": value},
        )
    return ask_minimum(inputs, part, int(count))


def _read_budget(inputs: PlanInputs, value: str) -> float:
    """An amount, or a factor of the budget such as x1.2."""
    if value[:1].lower() not in ("x", "×"):
        amount = read_money(value)
        return float(amount) if amount is not None else 0.0
    try:
        factor = float(value[1:])
    except ValueError:
        factor = float("nan")
    today = read_budget(inputs)
    if today is None or not 0 <= factor < float("inf"):
        raise BadInput(
            "strategy.bad_factor",
            say("'{value}' is not a factor of the budget.", value=value),
            remedy=say("Write it as x1.2, or give an amount."),
            where={"column": "budget", "value": value},
        )
    return today * factor


def draw_comparison(console: Console, payload: dict[str, Any]) -> None:
    """The scenarios as a table, what changes in words, and each one's prices."""
    currency = payload["currency"]
    table = make_number_table(
        say("Scenario"),
        say("Expected profit"),
        say("Against the base"),
        say("Cost"),
        say("Customers"),
        say("In / out / other"),
    )
    for row in payload["scenarios"]:
        if not row["possible"]:
            add_row(table, in_language(row["title"]), "—", "", "", "", "")
            continue
        difference = row["difference"]
        add_row(
            table,
            in_language(row["title"]),
            show_amount(row["expected_profit"]["estimate"], currency),
            "" if difference is None else _show_interval(difference, currency),
            show_amount(row["cost"], currency),
            str(row["chosen"]),
            "" if difference is None else f"{row['entered']} / {row['left']} / {row['switched']}",
        )
    console.print(table)
    for row in payload["scenarios"]:
        _print_words(console, "• " + _tell(row, "sentence"))
        for use in row.get("constraints", ()):
            if use["shadow_price"] > 0:
                _print_words(console, "    " + _tell(use, "sentence"))


def _show_interval(estimate: Mapping[str, Any], currency: str) -> str:
    lower, upper = show_amount(estimate["lower"], currency), show_amount(estimate["upper"], currency)
    return f"{show_amount(estimate['estimate'], currency)} [{lower}, {upper}]"


def _say(console: Console, text: Text) -> None:
    _print_words(console, str(text))


def _tell(row: Mapping[str, Any], what: str) -> str:
    return str(say("{what}: {values}", what=in_language(row["title"]), values=in_language(row[what])))


def _print_words(console: Console, words: str) -> None:
    console.print(words, markup=False, highlight=False)
