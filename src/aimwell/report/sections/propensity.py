"""The propensity models, one a department, side by side in one table: they share their method and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.figures import Unit, show
from aimwell.report.markup import Both, Child, Html, make
from aimwell.report.parts import make_card, make_table
from aimwell.report.reading import read_map, read_number, read_text

_COLUMNS: tuple[tuple[str, Unit], ...] = (
    ("auc", "ratio"),
    ("average_precision", "ratio"),
    ("lift_at_10", "ratio"),
    ("calibration", "ratio"),
    ("base_rate", "percent"),
)


def is_propensity(card: Mapping[str, Any]) -> bool:
    """Whether a model card is one of a propensity."""
    return "propensity" in (card.get("kind"), str(card.get("model")).partition(":")[0])


def name_target(row: Mapping[str, Any]) -> Both:
    """What a propensity is about, such as a department; the model's title where it does not say."""
    target = str(row.get("model") or "").partition(":")[2]
    return Both(target, target) if target else read_text(row.get("title"), row.get("model") or "—")


def make_propensity(cards: list[Mapping[str, Any]]) -> Html:
    """One card for all of them; nothing for none."""
    if not cards:
        return Html("")
    head = [
        say("Department"),
        say("AUC"),
        say("average precision"),
        say("lift of the best tenth"),
        say("predicted ÷ observed"),
        say("base rate"),
        say("learnt from"),
        say("tested on"),
    ]
    first = cards[0]
    return make_card(
        say("Propensity to buy, by department"),
        make("p", read_text(first.get("purpose")), class_="say"),
        make("p", make("code", str(first.get("method") or "—")), class_="method"),
        make_table(head, [_list_model(card) for card in cards]),
        _tell(say("Validated"), first.get("validated")),
        _tell(say("Limits"), first.get("limits")),
        span=12,
    )


def _tell(title: Child, value: object) -> Html | None:
    """A shared sentence under its bold name."""
    text = read_text(value)
    return make("p", make("b", title), " ", text, class_="limits") if text.en else None


def _list_model(card: Mapping[str, Any]) -> list[Child]:
    numbers = read_map(card.get("validation"))
    return [
        name_target(card),
        *(show(read_number(numbers.get(name)), unit, "") for name, unit in _COLUMNS),
        *(show(read_number(card.get(name)), "count", "") for name in ("n_train", "n_test")),
    ]
