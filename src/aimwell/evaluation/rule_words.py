"""What the rule of a designed test says, in words: the decision, and what was seen at each look. Pure."""

from __future__ import annotations

import math
from typing import Any

from aimwell.core.lists import join_list
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.evaluation.decision import Decision
from aimwell.evaluation.designed import PROFIT
from aimwell.evaluation.looks import Look, Test
from aimwell.goals.metrics import find_metric


def decide_by_rule(test: Test, currency: str, *, customers: int) -> Decision:
    """What follows from the looks taken so far; ``customers``: in the test."""
    reasons = tuple(describe_look(look, currency) for look in test.newest)
    rule = describe_test_rule(test)
    last = test.primary[-1] if test.looks else None
    if test.harmed:
        harmed = test.harmed[0]
        sentence = say(
            "No-go: the guard {guard} was harmed, shown at look {look}. Stop the campaign.",
            guard=_name(harmed.metric),
            look=harmed.look,
        )
        return Decision(False, sentence, reasons, rule)
    if last is None or last.verdict == "continue":
        return Decision(False, describe_waiting(test, customers=customers), reasons, rule)
    values: dict[str, Any] = {"metric": _name(last.metric), "look": last.look}
    if last.verdict == "effect":
        return Decision(
            True, say("Go: {metric} is higher with treatment, shown at look {look}.", **values), reasons, rule
        )
    if last.verdict == "harm":
        lower = say("No-go: {metric} is lower with treatment, shown at look {look}.", **values)
        return Decision(False, lower, reasons, rule)
    none = say("No-go for now: look {look} was the last, and no effect on {metric} is shown.", **values)
    return Decision(False, none, reasons, rule)


def describe_waiting(test: Test, *, customers: int) -> Text:
    """Why it is too early, and until when."""
    rule, days = test.rule, test.rule.list_days(test.start)
    following = test.find_next_day()
    values = {
        "design": rule.design,
        "day": (following or days[-1]).isoformat(),
        "end": days[-1].isoformat(),
        "customers": f"{customers:,}",
    }
    if rule.needed is None:
        return say(
            "Too early to decide: the design {design} looks next on {day} and ends on {end}; {customers} customers are "
            "in the test.",
            **values,
        )
    return say(
        "Too early to decide: the design {design} looks next on {day} and ends on {end}; it needs {needed} customers "
        "for its target, {customers} are in the test.",
        needed=f"{rule.needed:,}",
        **values,
    )


def describe_test_rule(test: Test) -> Text:
    """The rule in words."""
    rule = test.rule
    days = join_list(day.isoformat() for day in rule.list_days(test.start))
    if not rule.guards:
        return say(
            "Fixed before launch (design {design}, version {version}): {metric} decides, looked at on {days} with 5 % "
            "error over all looks.",
            design=rule.design,
            version=rule.version,
            metric=_name(rule.metric),
            days=days,
        )
    return say(
        "Fixed before launch (design {design}, version {version}): {metric} decides, looked at on {days} with 5 % "
        "error over all looks; harm to {guards} stops the test.",
        design=rule.design,
        version=rule.version,
        metric=_name(rule.metric),
        days=days,
        guards=join_list(_name(guard.metric) for guard in rule.guards),
    )


def describe_look(look: Look, currency: str) -> Text:
    """One metric at one look."""
    values: dict[str, Any] = {
        "metric": _name(look.metric),
        "effect": show_amount(look.metric, look.estimate, currency),
        "z": f"{abs(look.z):.2f}",
        "limit": f"{look.limit:.2f}" if math.isfinite(look.limit) else "∞",
    }
    ends = {
        "lower": show_amount(look.metric, look.lower, currency),
        "upper": show_amount(look.metric, look.upper, currency),
    }
    if look.role == "guard":
        return _describe_guard(look, values, ends)
    if look.verdict == "continue":
        return say(
            "{metric}: {effect} per customer so far, |z| = {z} below the limit of {limit}: go on.", **values
        )
    if look.verdict == "not_shown":
        return say(
            "{metric}: {effect} per customer [{lower}, {upper}], |z| = {z} below the limit of {limit}: not shown.",
            **values,
            **ends,
        )
    return say(
        "{metric}: {effect} per customer [{lower}, {upper}], corrected for stopping; |z| = {z} reaches the limit of "
        "{limit}.",
        **values,
        **ends,
    )


def _describe_guard(look: Look, values: dict[str, Any], ends: dict[str, str]) -> Text:
    if look.verdict == "harm":
        return say(
            "Guard {metric}: {effect} per customer [{lower}, {upper}]: harmed (|z| = {z}, limit {limit}).",
            **values,
            **ends,
        )
    if look.verdict == "safe":
        return say(
            "Guard {metric}: {effect} per customer [{lower}, {upper}]: harm beyond its limit is excluded.",
            **values,
            **ends,
        )
    return say(
        "Guard {metric}: {effect} per customer [{lower}, {upper}]: harm is neither shown nor excluded.",
        **values,
        **ends,
    )


def show_amount(metric: str, value: float, currency: str) -> str:
    """An effect on a KPI in its unit."""
    kind = find_metric(metric).kind
    if kind == "money":
        return show_money(value, currency)
    shown = f"{100 * value:+.2f} pp" if kind == "share" else f"{value:+.3f}"
    return shown.replace("-", "−")


def summarise_test(test: Test, currency: str) -> dict[str, Any]:
    """For JSON and the screen."""
    rule = test.rule
    following = None if test.over else test.find_next_day()
    return {
        "design": rule.design,
        "version": rule.version,
        "fingerprint": rule.fingerprint(),
        "over": test.over,
        "planned": [day.isoformat() for day in rule.list_days(test.start)],
        "next_look": None if following is None else following.isoformat(),
        "looks": [
            {
                **look.to_row(),
                "looked_on": look.looked_on.isoformat(),
                "title": _name(look.metric).both(),
                "sentence": describe_look(look, currency).both(),
            }
            for look in test.looks
        ],
    }


def _name(metric: str) -> Text:
    if metric == PROFIT:
        return say("Margin per customer less contacts and offers")
    return find_metric(metric).title
