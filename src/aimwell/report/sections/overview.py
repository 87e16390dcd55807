"""The first screen: what the round earned, for whom, and whether to believe it; and the loop as a ring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.figures import Unit, find_tone, show, show_interval, show_sample
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import make_card, make_points, make_quiet, make_section, make_simulated, make_tile
from aimwell.report.reading import (
    Figure,
    Material,
    read_count,
    read_figure,
    read_map,
    read_number,
    read_rows,
    read_texts,
)
from aimwell.report.ring import draw_ring
from aimwell.report.sections.rounds import make_rounds_chart


def make_overview(material: Material) -> Html:
    """The section."""
    tiles = make("div", *_make_tiles(material), class_="kpis span-12")
    return make_section(
        "overview",
        None,
        say("Overview"),
        say("What this round earned, what it cost, and how far the figures can be trusted."),
        tiles,
        _make_loop(material),
        _make_side(material),
    )


def find_profit(material: Material) -> Figure | None:
    """The last round's incremental profit; that of the last wave where there are no rounds."""
    rounds = material.rows("rounds")
    found = read_figure(rounds[-1].get("incremental_profit")) if rounds else None
    return found or read_figure(material.part("evaluation").get("incremental_profit"))


def find_roi(material: Material) -> Figure | None:
    """The last round's ROI, likewise."""
    rounds = material.rows("rounds")
    found = read_figure(rounds[-1].get("roi")) if rounds else None
    return found or read_figure(material.part("evaluation").get("roi"))


def find_waves(material: Material) -> list[Mapping[str, Any]]:
    """The waves of the last round."""
    rounds = material.rows("rounds")
    return read_rows(rounds[-1].get("waves")) if rounds else []


def count_reached(material: Material) -> int | None:
    """Deliveries sent in the last round: each is one customer of one wave."""
    parts = [read_map(wave.get("deployment")) for wave in find_waves(material)]
    parts = [part for part in parts if part] or [material.part("deployment")]
    sent = [read_count(read_map(part.get("states")).get("sent")) for part in parts]
    known = [count for count in sent if count is not None]
    return sum(known) if known else None


def _make_tiles(material: Material) -> list[Html]:
    label = make_simulated() if material.simulated else None
    profit, roi = find_profit(material), find_roi(material)
    return [
        _make_effect_tile(say("Incremental profit"), profit, "money", material, label),
        _make_effect_tile(say("ROI"), roi, "ratio", material, label),
        _make_reach_tile(material),
        _make_gap_tile(material),
        _make_truth_tile(material, profit, label),
    ]


def _make_effect_tile(
    name: Text, figure: Figure | None, unit: Unit, material: Material, label: Child
) -> Html:
    if figure is None:
        return make_tile(name, "—", say("no campaign has been measured yet"))
    value = show(figure.estimate, unit, material.currency, signed=True)
    interval, sample = show_interval(figure, unit, material.currency), show_sample(figure)
    under = make("span", interval, make("span", " · ", sample) if sample else None)
    return make_tile(name, value, under, tone=find_tone(figure), label=label)


def _make_reach_tile(material: Material) -> Html:
    reached, waves = count_reached(material), len(find_waves(material))
    audience = read_number(material.part("deployment").get("audience"))
    under = say("nothing sent yet")
    if reached is not None and waves:
        under = say("deliveries sent; waves in this round: {count}", count=waves)
    elif reached is not None and audience:
        under = say("of {count} in the audience", count=f"{audience:,.0f}")
    return make_tile(say("Customers reached"), show(reached, "count", material.currency), under)


def _make_gap_tile(material: Material) -> Html:
    gap = read_number(material.part("strategy").get("gap"))
    under = say("at most this far below the best possible plan") if gap is not None else say("no plan yet")
    return make_tile(say("Certified gap"), show(gap, "percent", material.currency), under)


def _make_truth_tile(material: Material, profit: Figure | None, label: Child) -> Html:
    rounds, truth = material.rows("rounds"), material.part("truth")
    actual = read_number(rounds[-1].get("true_incremental_profit")) if rounds else None
    if actual is None or profit is None:
        share, checked = read_number(truth.get("covered_share")), read_count(truth.get("n_checked"))
        if share is None:
            return make_tile(
                say("True against estimated"), "—", say("only a simulated market knows the truth")
            )
        under = say("of {count} intervals hold the truth", count=checked if checked is not None else "—")
        return make_tile(
            say("True against estimated"), show(share, "percent", material.currency), under, label=label
        )
    value = show(actual, "money", material.currency, signed=True)
    if not profit.bounded:
        return make_tile(say("True incremental profit"), value, None, label=label)
    held = (profit.lower or 0) <= actual <= (profit.upper or 0)
    under = (
        say("inside the interval of the estimate") if held else say("outside the interval of the estimate")
    )
    return make_tile(
        say("True incremental profit"), value, under, tone="gain" if held else "loss", label=label
    )


def _make_loop(material: Material) -> Html:
    """The ring, and under it what to do next."""
    decision = read_map(material.part("evaluation").get("decision"))
    sentences: list[Child] = [*read_texts([decision.get("sentence")]), *read_texts(decision.get("reasons"))]
    simulated = material.simulated and bool(sentences)
    advice = make_points(sentences) if sentences else make_quiet(_advise(material))
    title = say("The loop: six steps, and what each left")
    return make(
        "div",
        make_card(title, draw_ring(material), span=12, simulated=material.simulated),
        make_card(say("What to do next"), advice, span=12, simulated=simulated),
        class_="stack loop span-7",
    )


def _make_side(material: Material) -> Html:
    rounds = make_rounds_chart(material)
    lessons = read_texts(material.part("evaluation").get("lessons"))[:4]
    cards = [make_card(say("Round against round"), rounds, span=12, simulated=material.simulated)]
    if lessons:
        cards.append(
            make_card(say("What was learnt"), make_points(lessons), span=12, simulated=material.simulated)
        )
    return make("div", *cards, class_="stack span-5")


def _advise(material: Material) -> Both:
    if material.has("strategy"):
        return make_both(
            say(
                "Wait until the plan's window has ended, then measure it: `aimwell round` goes on from there."
            )
        )
    return make_both(
        say("Run `aimwell round`: it does what your data allows and says what it lacks for the rest.")
    )
