"""Trees and paces as JSON, and what they say to people. Reads and writes no table."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.goals.company import MEASURES, CompanyGoal, Measure
from aimwell.goals.drivers import Unit
from aimwell.goals.feasibility_words import show_effect, show_share
from aimwell.goals.goal import Goal
from aimwell.goals.kept import AnyGoal
from aimwell.goals.metrics import FAMILIES, Kind
from aimwell.goals.pace import Pace, Status, list_days
from aimwell.goals.tree import Campaign, Driver, Drivers, Tree, describe_gap

FEW_CHANGES = 5
"""So few windows hardly tell how a driver usually varies: their number is said."""

STATUSES: dict[Status, Text] = {
    "not_started": say("not started"),
    "ahead": say("ahead of the target"),
    "behind": say("behind the target"),
    "unclear": say("unclear"),
    "reached": say("reached"),
    "missed": say("missed"),
}


def show_total(amount: Decimal | float, measure: Measure, currency: str) -> str:
    """An amount of a measure: money, or orders."""
    return f"{float(amount):,.0f}" if measure == "orders" else show_money(amount, currency)


def show_level(value: float, unit: Unit, currency: str) -> str:
    """A driver's value in its unit."""
    if unit == "money":
        return show_money(value, currency)
    return f"{value:.3f}" if unit == "ratio" else f"{value:,.0f}"


def summarise_goal(goal: AnyGoal) -> dict[str, Any]:
    """What was set, for JSON."""
    shown: dict[str, Any] = {
        "name": goal.name,
        "window": {"start": goal.start.isoformat(), "days": goal.days},
        "budget": None if goal.budget is None else float(goal.budget),
    }
    if isinstance(goal, CompanyGoal):
        return shown | {
            "kind": "company",
            "title": MEASURES[goal.measure].both(),
            "measure": goal.measure,
            "unit": goal.unit,
            "baseline": float(goal.baseline_amount),
            "baseline_window": {"start": goal.baseline_start.isoformat(), "days": goal.days},
            "target": float(goal.target_amount),
            "wanted": float(goal.wanted),
        }
    return shown | {
        "kind": "campaign",
        "title": goal.definition.title.both(),
        "metric": goal.metric,
        "family": goal.definition.family,
        "family_title": FAMILIES[goal.definition.family].both(),
        "target_change": goal.target,
        "parent": goal.parent,
        "segment": goal.segment,
    }


def summarise_tree(tree: Tree, lost: list[Goal], currency: str) -> dict[str, Any]:
    """The whole tree, for ``--json`` and the report."""
    return {
        "goal": summarise_goal(tree.top),
        "measure": tree.measure,
        "unit": "orders" if tree.measure == "orders" else "money",
        "currency": currency,
        "wanted": None if tree.wanted is None else float(tree.wanted),
        "drivers": [] if tree.drivers is None else [_show_driver(row) for row in tree.drivers.rows],
        "campaigns": [_show_campaign(campaign) for campaign in tree.campaigns],
        "assigned": None if tree.wanted is None or tree.gap is None else float(tree.wanted - tree.gap),
        "gap": None if tree.gap is None else float(tree.gap),
        "budget_gap": _find_budget_gap(tree),
        "overlaps": [overlap.__dict__ for overlap in tree.overlaps],
        "lost": [summarise_goal(goal) for goal in lost],
        "sentences": [text.both() for text in _describe_tree(tree, lost, currency)],
    }


def _show_driver(row: Driver) -> dict[str, Any]:
    title = row.node.title
    return {
        "name": row.node.name,
        "title": None if title is None else title.both(),
        "kind": row.node.kind,
        "unit": row.node.unit,
        "depth": row.depth,
        "baseline": row.baseline,
        "usual_change": row.swing.relative,
        "changes": row.swing.changes,
        "largest_rise": row.swing.largest,
        "alone": row.alone,
        "alone_change": row.alone / row.baseline - 1 if row.alone is not None and row.baseline else None,
        "alone_in_usual_changes": row.swings_alone,
        "share": row.share,
        "together": row.together,
        "together_change": row.together / row.baseline - 1 if row.baseline else None,
        "part": float(row.part),
        "last_part": None if row.last_part is None else float(row.last_part),
    }


def _show_campaign(campaign: Campaign) -> dict[str, Any]:
    worth = campaign.worth
    return summarise_goal(campaign.goal) | {
        "amount": None if campaign.amount is None else float(campaign.amount),
        "amount_given": campaign.given,
        "worth_units": None if worth is None else worth.units,
        "worth_per_unit": None if worth is None else worth.per_unit,
        "audience": None if worth is None else worth.baseline.now.n,
        "gap": None if campaign.gap is None else float(campaign.gap),
        "campaigns": [_show_campaign(child) for child in campaign.children],
    }


def _find_budget_gap(tree: Tree) -> float | None:
    if tree.top.budget is None:
        return None
    return float(tree.top.budget - sum((c.goal.budget for c in tree.campaigns), Decimal(0)))


def _describe_tree(tree: Tree, lost: list[Goal], currency: str) -> list[Text]:
    said: list[Text] = []
    if tree.wanted is not None and tree.gap is not None:
        shown = show_total(abs(tree.gap), tree.measure, currency)
        said.append(describe_gap(tree.wanted, tree.gap, shown))
    if isinstance(tree.top, CompanyGoal) and tree.drivers is not None:
        said += _describe_drivers(tree.top, tree.drivers, currency)
    said += [
        say(
            "'{one}' and '{other}' count {customers} customers in the same days: their effects may not add up.",
            one=overlap.one,
            other=overlap.other,
            customers=f"{overlap.customers:,}",
        )
        for overlap in tree.overlaps
    ]
    budget = _find_budget_gap(tree)
    if budget is not None and budget < 0:
        said.append(
            say(
                "The campaigns may spend {amount} more than the goal's budget.",
                amount=show_money(-budget, currency),
            )
        )
    if tree.campaigns:
        said.append(
            say(
                "What a campaign brings is found at baseline values, from its whole audience, unless it was given."
            )
        )
    said += [
        say("'{name}' served '{parent}', which is not there any more.", name=goal.name, parent=goal.parent)
        for goal in lost
    ]
    return said


def _describe_drivers(goal: CompanyGoal, drivers: Drivers, currency: str) -> list[Text]:
    said: list[Text] = []
    if drivers.baseline != goal.baseline_amount:
        said.append(
            say(
                "When the goal was set the baseline was {then}; the data now say {now}. The target stays.",
                then=show_total(goal.baseline_amount, goal.measure, currency),
                now=show_total(drivers.baseline, goal.measure, currency),
            )
        )
    if not drivers.parted:
        said.append(
            say(
                "The data hold no whole window before the baseline, so retained, won-back and new customers cannot be "
                "told apart."
            )
        )
    if drivers.windows < 2:
        said.append(say("How drivers usually change is not known: there is one window only."))
    elif drivers.windows <= FEW_CHANGES or drivers.window_days != goal.days:
        said.append(
            say(
                "How drivers usually change is taken from {count} windows of {days} days.",
                count=drivers.windows,
                days=drivers.window_days,
            )
        )
    return said


def summarise_pace(pace: Pace, currency: str) -> dict[str, Any]:
    """Where a goal stands, for ``--json`` and the report."""
    forecast = pace.forecast
    finite = forecast is not None and math.isfinite(forecast.error)
    return {
        "goal": summarise_goal(pace.goal),
        "unit": pace.kind,
        "currency": currency,
        "until": pace.until.isoformat(),
        "elapsed": pace.elapsed,
        "days_left": pace.days_left,
        "baseline": pace.baseline,
        "target": pace.target,
        "observed": pace.observed,
        "expected": pace.expected,
        "status": pace.status,
        "status_title": STATUSES[pace.status].both(),
        "forecast": forecast.to_estimate().to_dict() if forecast and finite else None,
        "forecast_point": None if forecast is None else forecast.estimate,
        "chance": pace.chance,
        "past_windows": 0 if forecast is None else forecast.windows,
        "tried": 0 if forecast is None else forecast.tried,
        "covered": 0 if forecast is None else forecast.covered,
        "rate": pace.rate,
        "required_rate": pace.required,
        "measured": None
        if pace.increments is None
        else {
            "plans": list(pace.increments.plans),
            "simulated": pace.increments.simulated,
            **pace.increments.total.to_dict(),
        },
        "path": list_days(pace),
        "sentences": [text.both() for text in describe_pace(pace, currency)],
    }


def show_figure(value: float, kind: Kind, currency: str) -> str:
    """A KPI's or total's value: a share in percent, money, a count."""
    if kind == "share":
        return f"{value:.1%}"
    if kind == "money":
        return show_money(value, currency)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def describe_pace(pace: Pace, currency: str) -> tuple[Text, ...]:
    """All there is to say, where it stands first."""
    return (
        *_describe_so_far(pace, currency),
        *_describe_end(pace, currency),
        *_describe_trust(pace),
        *_describe_measured(pace, currency),
    )


def _describe_so_far(pace: Pace, currency: str) -> tuple[Text, ...]:
    if not pace.elapsed:
        return (say("The window begins on {day}: nothing is observed yet.", day=pace.goal.start.isoformat()),)
    values: dict[str, str | int] = {
        "elapsed": pace.elapsed,
        "days": pace.goal.days,
        "last": (pace.until - timedelta(days=1)).isoformat(),
        "observed": show_figure(pace.observed, pace.kind, currency),
        "target": show_figure(pace.target, pace.kind, currency),
    }
    if pace.expected is None:
        return (
            say(
                "After {elapsed} of {days} days (to {last}) {observed} is observed; the target is {target}.",
                **values,
            ),
        )
    return (
        say(
            "After {elapsed} of {days} days (to {last}) {observed} is observed, where the path to {target} would have "
            "{expected}.",
            expected=show_figure(pace.expected, pace.kind, currency),
            **values,
        ),
    )


def _describe_end(pace: Pace, currency: str) -> tuple[Text, ...]:
    if not pace.days_left:
        return (say("The window has ended: the target is {status}.", status=STATUSES[pace.status]),)
    if pace.forecast is None or pace.chance is None:
        return (
            say(
                "No forecast: the data hold too few whole windows of {days} days before this one.",
                days=pace.goal.days,
            ),
        )
    end = pace.forecast.to_estimate()
    figures = {
        name: show_figure(value, pace.kind, currency)
        for name, value in (("estimate", end.estimate), ("lower", end.lower), ("upper", end.upper))
    }
    said = [
        say(
            "At this pace it ends at {estimate} (95 %: {lower} to {upper}); the chance of the target is {chance}.",
            chance=_show_chance(pace.chance),
            **figures,
        )
    ]
    if pace.required is not None and pace.rate is not None:
        said.append(
            say(
                "Each day that is left must bring {required}; the last days brought {rate} a day.",
                required=_show_rate(pace.required, pace.kind, currency),
                rate=_show_rate(pace.rate, pace.kind, currency),
            )
        )
    return tuple(said)


def _show_chance(chance: float) -> str:
    return "< 1 %" if chance < 0.01 else "> 99 %" if chance > 0.99 else f"{chance:.0%}"


def _show_rate(value: float, kind: Kind, currency: str) -> Text | str:
    return (
        show_figure(value, kind, currency)
        if kind in ("money", "customers")
        else show_effect(value, kind, currency)
    )


def _describe_trust(pace: Pace) -> tuple[Text, ...]:
    forecast = pace.forecast
    if forecast is None or not pace.days_left:
        return ()
    said: list[Text] = []
    if forecast.tried:
        said.append(
            say(
                "Made in the same way beforehand, the interval held the end of {covered} of {tried} past windows.",
                covered=forecast.covered,
                tried=forecast.tried,
            )
        )
    elif pace.chance is not None:
        said.append(say("The data are too short to try the interval on past windows."))
    if pace.short_history:
        said.append(
            say("The data hold less than a year before it: a season they have not seen is not foreseen.")
        )
    return tuple(said)


def _describe_measured(pace: Pace, currency: str) -> tuple[Text, ...]:
    observed = say("Observed is everything that happened in the window, not what campaigns caused.")
    found = pace.increments
    if found is None:
        return (observed, say("No experiment of this goal has been measured yet."))
    values: dict[str, str | int] = {
        name: show_figure(value, pace.kind, currency)
        for name, value in (
            ("estimate", found.total.estimate),
            ("lower", found.total.lower),
            ("upper", found.total.upper),
        )
    }
    values["count"] = len(found.plans)
    return (
        observed,
        say(
            "Experiments measured {estimate} more in total among the treated (95 %: {lower} to {upper}; {count} plans; "
            "simulated market).",
            **values,
        )
        if found.simulated
        else say(
            "Experiments measured {estimate} more in total among the treated (95 %: {lower} to {upper}; {count} "
            "plans).",
            **values,
        ),
    )


def summarise_change(change: float | None) -> str:
    """A relative change for a table; a dash where there is none."""
    return "–" if change is None else f"{'+' if change >= 0 else '−'}{show_share(abs(change))}"
