"""The plan in detail: by action, by arm, the reasons for some customers, and who is left in peace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.figures import show, show_effect
from aimwell.report.markup import Both, Child, Html, join, make, make_both
from aimwell.report.parts import make_card, make_facts, make_meter, make_quiet, make_split, make_table
from aimwell.report.reading import (
    Material,
    explores,
    read_figure,
    read_map,
    read_number,
    read_rows,
    read_text,
)
from aimwell.report.sections.rounds import tell_exploring


def make_plan_actions(strategy: Mapping[str, Any], material: Material) -> Html:
    """What each action of the plan is expected to earn, with a bar as long as its profit; a wave that explores
    promises nothing, and its bars are as long as its customers are many."""
    weigh = _count if explores(strategy) else _read_profit
    rows = [row for row in read_rows(strategy.get("by_action")) if _count(row) > 0]
    rows.sort(key=lambda row: -weigh(row))
    most = max((abs(weigh(row)) for row in rows), default=0.0)
    head: list[Child] = [say("Action"), say("Customers"), say("Expected profit"), say("Cost")]
    listed = [
        [
            _draw_action(row, weigh(row), most, "accent" if explores(strategy) else "gain"),
            *_list_figures(row, material.currency),
        ]
        for row in rows
    ]
    if explores(strategy):
        head, listed = [head[at] for at in (0, 1, 3)], [[row[at] for at in (0, 1, 3)] for row in listed]
    body = make_table(head, listed, kind="fit") if rows else make_quiet(say("Nobody was chosen."))
    note = tell_exploring() if explores(strategy) else say("The bar is the expected profit, after costs.")
    return make_card(say("Plan by action"), body, span=12, simulated=material.simulated, note=note)


def _count(row: Mapping[str, Any]) -> float:
    return read_number(row.get("customers")) or 0.0


def _read_profit(row: Mapping[str, Any]) -> float:
    figure = read_figure(row.get("expected_profit"))
    return figure.estimate if figure else 0.0


def _draw_action(row: Mapping[str, Any], weight: float, most: float, tone: str) -> Html:
    bar = make_meter(abs(weight) / most if most else 0.0, tone if weight >= 0 else "loss")
    return join(make("span", read_text(row.get("title"), row.get("action_id") or "—")), bar)


def _list_figures(row: Mapping[str, Any], currency: str) -> list[Child]:
    return [
        show(_count(row), "count", currency),
        show_effect(read_figure(row.get("expected_profit")), "money", currency),
        show(read_number(row.get("cost")), "money", currency),
    ]


def name_channel(name: object) -> Both:
    """A channel in both languages."""
    known = {"email": say("e-mail"), "sms": say("SMS"), "call": say("call"), "mail": say("direct mail")}
    return make_both(known.get(str(name), str(name or "—")))


def make_arms(strategy: Mapping[str, Any], material: Material) -> Html:
    """How many were drawn for each arm."""
    arms = read_map(strategy.get("arms"))
    names = {"treatment": say("treatment"), "control": say("control"), "holdout": say("holdout")}
    tones = {"treatment": "accent", "control": "quiet", "holdout": "pale"}
    parts = [(names[name], _count_arm(arms.get(name)), tones[name]) for name in names]
    note = say("Drawn before launch: the control group is what tells what the plan causes.")
    return make_card(say("Treatment, control, holdout"), make_split(parts), span=12, note=note)


def _count_arm(value: object) -> float:
    for number in (read_number(value), read_number(read_map(value).get("customers"))):
        if number is not None:
            return number
    return 0.0


def make_examples(strategy: Mapping[str, Any], material: Material) -> Html:
    """A few customers, and the reason for what each gets."""
    titles = {
        str(row.get("action_id")): read_text(row.get("title"), row.get("action_id"))
        for row in read_rows(strategy.get("by_action"))
    }
    rows: list[list[Child]] = [
        [
            make("code", str(row.get("customer_id", "—"))),
            titles.get(str(row.get("action_id"))) or str(row.get("action_id") or "—"),
            _cut_reason(read_text(row.get("reason"), "—"), read_text(row.get("why_not"))),
            read_text(row.get("why_not"), "—"),
        ]
        for row in read_rows(strategy.get("examples"))[:8]
    ]
    head = [say("Customer"), say("Action"), say("Why this"), say("Why nothing else")]
    body = make_table(head, rows, names=4, kind="tale") if rows else make_quiet(say("Nobody was chosen."))
    return make_card(say("Why these customers"), body, span=12, simulated=material.simulated)


def _cut_reason(reason: Both, other: Both) -> Both:
    """The reason without the part that stands in the next column."""
    return Both(_cut(reason.en, other.en, ";", "."), _cut(reason.zh, other.zh, "；", "。"))


def _cut(reason: str, other: str, mark: str, stop: str) -> str:
    before, found, _ = reason.partition(other) if other else (reason, "", "")
    kept, marked, _ = before.rpartition(mark)
    return kept + stop if found and marked else reason


def make_basis(strategy: Mapping[str, Any], material: Material) -> Html:
    """What the promise rests on, and whether personalising is proven; nothing where no effect was known."""
    told = [read_text(row) for row in read_rows(read_map(strategy.get("basis")).get("sentences"))]
    if not told:
        return Html("")
    body = make("ul", *(make("li", sentence) for sentence in told))
    return make_card(say("What the promise rests on"), body, span=12, simulated=material.simulated)


def make_left_out(strategy: Mapping[str, Any], material: Material) -> Html:
    """Who gets nothing, by segment; nothing where nobody is left out."""
    rows = [row for row in read_rows(strategy.get("left_out")) if _count(row) > 0]
    if not rows:
        return Html("")
    facts: list[tuple[Child, Child]] = [
        (
            read_text(row.get("title"), row.get("segment") or "—"),
            join(
                show(read_number(row.get("customers")), "count", material.currency),
                make("small", " (", show(read_number(row.get("share")), "percent", material.currency), ")"),
            ),
        )
        for row in rows[:12]
    ]
    note = say("Customers who get nothing, by segment: contacting them would cost more than it brings.")
    if explores(strategy):
        note = say("Customers who get nothing in this wave, by segment.")
    return make_card(say("Left in peace"), make_facts(facts, "columns"), span=12, note=note)
