"""What feasibility says to people. Reads and writes no table."""

from __future__ import annotations

import math

from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.goals.feasibility import FEW_CUSTOMERS, Feasibility
from aimwell.goals.goal import Goal
from aimwell.goals.metrics import Kind


def show_effect(value: float, kind: Kind, currency: str) -> Text | str:
    """An effect in its own unit: points for shares, money or a count per customer."""
    if kind == "share":
        return say("{points} pp", points=f"{value * 100:.2g}")
    return show_money(value, currency) if kind == "money" else f"{value:.3g}"


def show_share(value: float) -> str:
    """A share in percent, short."""
    return f"{value:.1%}" if abs(value) < 0.1 else f"{value:.0%}"


def describe(found: Feasibility, goal: Goal, currency: str) -> tuple[Text, ...]:
    """All there is to say, the verdict first."""
    if found.kind == "customers":
        return _describe_days(found, currency)
    if not math.isfinite(found.smallest):
        return (
            say(
                "With an audience of {audience} no effect can be shown: widen the audience.",
                audience=found.audience,
            ),
            *_describe_audience(found, goal),
        )
    return (
        _describe_verdict(found, currency),
        *_describe_needs(found),
        *_describe_doubts(found, currency),
        *_describe_past(found, goal, currency),
        *_describe_audience(found, goal),
    )


def _describe_verdict(found: Feasibility, currency: str) -> Text:
    values: dict[str, str | int | Text] = {
        "audience": f"{found.audience:,}",
        "control": show_share(found.control_share),
        "days": found.days,
        "smallest": show_effect(found.smallest, found.kind, currency),
        "target": show_effect(found.wanted, found.kind, currency),
    }
    if found.enough:
        return say(
            "With {audience} customers, {control} of them in control, and {days} days the smallest visible effect is "
            "{smallest}: the target of {target} can be seen.",
            **values,
        )
    return say(
        "With {audience} customers, {control} of them in control, and {days} days the smallest visible effect is "
        "{smallest}: the target of {target} cannot be seen.",
        **values,
    )


def _describe_needs(found: Feasibility) -> tuple[Text, ...]:
    if found.enough or not found.wanted:
        return ()
    options = []
    if found.needed_customers is not None:
        options.append(say("{count} customers", count=f"{found.needed_customers:,}"))
    if found.needed_days is not None:
        options.append(say("{days} days", days=found.needed_days))
    if found.needed_control is not None:
        options.append(say("a control share of {share}", share=f"{found.needed_control:.0%}"))
    said: list[Text] = []
    if options:
        needed = options[0]
        for option in options[1:]:
            needed = say("{one}, or {other}", one=needed, other=option)
        said.append(say("It would take {needed}.", needed=needed))
    if found.needed_days is None and found.steps:
        longest = max(step.days for step in found.steps)
        said.append(
            say("No window up to {days} days, the longest that the past holds twice, shows it.", days=longest)
        )
    if found.needed_control is None:
        said.append(say("No control share shows it with this audience."))
    return tuple(said)


def _describe_doubts(found: Feasibility, currency: str) -> tuple[Text, ...]:
    said: list[Text] = []
    seen = found.visible
    assert seen is not None
    if found.n_past < FEW_CUSTOMERS:
        said.append(
            say(
                "The variance is estimated from {n} customers only: the smallest visible effect may be {lower} to "
                "{upper}.",
                n=found.n_past,
                lower=show_effect(seen.lower, found.kind, currency),
                upper=show_effect(seen.upper, found.kind, currency),
            )
        )
    if found.kind == "money" and seen.skewed:
        said.append(
            say(
                "Only {buyers} buyers are expected in the smaller arm: money is so skewed that its intervals then hold "
                "the truth in fewer than 95 of 100 cases (that of the smallest visible effect: 88 in our trials).",
                buyers=f"{seen.expected_buyers:,.0f}",
            )
        )
    return tuple(said)


def _describe_past(found: Feasibility, goal: Goal, currency: str) -> tuple[Text, ...]:
    said: list[Text] = []
    if found.best_rise is None:
        said.append(say("There is only one window of data, so nothing tells how far the KPI usually moves."))
    else:
        values: dict[str, str | int] = {
            "best": show_share(found.best_rise),
            "count": found.rises,
            "target": show_share(goal.target),
        }
        said.append(
            say(
                "The target of {target} is more than the KPI ever rose from one window to the next ({best} at best, "
                "in {count} changes).",
                **values,
            )
            if goal.target > found.best_rise
            else say(
                "From one window to the next the KPI rose by {best} at best (in {count} changes); the target is "
                "{target}.",
                **values,
            )
        )
    if found.record is not None:
        values_shown: dict[str, str | Text] = {
            "plan": found.record.plan_id,
            "estimate": show_effect(found.record.estimate, found.kind, currency),
            "upper": show_effect(found.record.upper, found.kind, currency),
            "target": show_effect(found.wanted, found.kind, currency),
        }
        said.append(
            say(
                "The largest effect measured so far is {estimate} per customer, at most {upper} ({plan}, simulated); "
                "the target is {target}.",
                **values_shown,
            )
            if found.record.simulated
            else say(
                "The largest effect measured so far is {estimate} per customer, at most {upper} ({plan}); the target "
                "is {target}.",
                **values_shown,
            )
        )
    return tuple(said)


def _describe_audience(found: Feasibility, goal: Goal) -> tuple[Text, ...]:
    said: list[Text] = []
    if found.members_of_today:
        said.append(
            say(
                "The segment '{segment}' is younger than the baseline: its members of today were chosen by what they "
                "did in it, so the baseline may be flattering or too low.",
                segment=goal.segment,
            )
        )
    if goal.metric == "repeat_rate":
        said.append(
            say(
                "Repeat purchase is counted among buyers, whom the campaign itself may change: watch orders, too."
            )
        )
    return tuple(said)


def _describe_days(found: Feasibility, currency: str) -> tuple[Text, ...]:
    customers = say(
        "New customers cannot be drawn into arms before they come: draw markets instead (aimwell strategy markets)."
    )
    if found.usual_change is None:
        return (customers,)
    change = say(
        "Without arms, {usual} a day is what one window usually differs from the next by; the target is {target} a "
        "day.",
        usual=show_effect(found.usual_change, found.kind, currency),
        target=show_effect(found.wanted, found.kind, currency),
    )
    return (customers, change)
