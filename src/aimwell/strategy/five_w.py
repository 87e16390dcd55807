"""A plan in five sentences: who, what, when, where and why (5W). Reads and writes no tables."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np

from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.strategy.actions import name_channel
from aimwell.strategy.inputs import PlanInputs, PlanResult
from aimwell.strategy.limits import read_offer_title

SHOWN = 3


def tell_five_w(inputs: PlanInputs, result: PlanResult, *, as_of: date, days: int) -> dict[str, Any]:
    """Who → sentence, what → sentence…; texts in both languages."""
    told = {
        "who": _tell_who(result),
        "what": _tell_what(inputs, result),
        "when": say(
            "When: outcomes count from {first} to {last}, {days} days.",
            first=as_of.isoformat(),
            last=(as_of + timedelta(days=days - 1)).isoformat(),
            days=days,
        ),
        "where": _tell_where(inputs, result),
        "why": _tell_why(inputs, result),
    }
    return {name: text.both() for name, text in told.items()}


def _tell_who(result: PlanResult) -> Text:
    return say(
        "Who: {chosen} of {considered} customers who may be contacted; {control} of them are control, and {holdout} "
        "more are held out.",
        chosen=len(result.customer),
        considered=len(result.considered),
        control=int((~result.treated).sum()),
        holdout=len(result.holdout),
    )


def _tell_what(inputs: PlanInputs, result: PlanResult) -> Text:
    offers = list(dict.fromkeys(action.offer for action in inputs.actions))
    place = np.array([offers.index(action.offer) for action in inputs.actions], dtype=np.int64)
    titles = {action.offer: read_offer_title(action) for action in inputs.actions}
    counts = np.bincount(place[result.action], minlength=len(offers))
    parts = [
        say("{part} ({count} customers)", part=titles[offers[index]], count=int(counts[index]))
        for index in np.argsort(-counts, kind="stable")[:SHOWN]
        if counts[index]
    ]
    return say("What: {parts}.", parts=_join(parts)) if parts else say("What: nothing.")


def _tell_where(inputs: PlanInputs, result: PlanResult) -> Text:
    channels = list(dict.fromkeys(action.channel for action in inputs.actions))
    place = np.array([channels.index(action.channel) for action in inputs.actions], dtype=np.int64)
    counts = np.bincount(place[result.action], minlength=len(channels))
    parts = [
        say("{part} ({count} customers)", part=name_channel(channels[index]), count=int(counts[index]))
        for index in np.argsort(-counts, kind="stable")
        if counts[index]
    ]
    return say("Where: {parts}.", parts=_join(parts)) if parts else say("Where: nowhere.")


def _join(parts: list[Text]) -> Text:
    told = parts[0]
    for part in parts[1:]:
        told = say("{first}; {second}", first=told, second=part)
    return told


def _tell_why(inputs: PlanInputs, result: PlanResult) -> Text:
    if result.method == "randomised":
        return say("Why: to learn what each action causes; actions are drawn at random.")
    profit = result.expected_profit
    return say(
        "Why: the treated are expected to earn {profit} ({lower} to {upper}) after {cost} of cost.",
        profit=show_money(profit.estimate, inputs.currency),
        lower=show_money(profit.lower, inputs.currency),
        upper=show_money(profit.upper, inputs.currency),
        cost=show_money(result.treated_cost, inputs.currency),
    )
