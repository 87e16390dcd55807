"""Round against round, and wave by wave: does what was learnt pay?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import Axis
from aimwell.report.figures import NONE, show, show_date, show_effect
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import make_card, make_chart, make_pill, make_quiet, make_table
from aimwell.report.reading import (
    Material,
    read_count,
    read_figure,
    read_map,
    read_number,
    read_promise,
    read_rows,
)


def make_rounds_chart(material: Material, height: str = "medium") -> Html:
    """Each round's incremental profit with its interval, and the truth where the market is simulated."""
    rows = []
    for at, row in enumerate(material.rows("rounds"), start=1):
        figure = read_figure(row.get("incremental_profit"))
        if figure:
            name = make_both(say("Round {number}", number=read_count(row.get("round")) or at))
            rows.append(ForestRow(name, figure, read_number(row.get("true_incremental_profit"))))
    if not rows:
        return make_quiet(
            say("A second round is compared with the first as soon as both have been measured.")
        )
    chart = Forest(rows, Axis(make_both(say("incremental profit")), "money"), upright=True)
    return make_chart(chart, say("Incremental profit by round"), currency=material.currency, height=height)


def make_rounds(material: Material) -> list[Html]:
    """The cards: rounds side by side, and the waves of all rounds."""
    rounds, chart = material.rows("rounds"), make_rounds_chart(material, "short")
    title = say("Round against round")
    if not rounds:
        return [make_card(title, chart, span=12)]
    both = make("div", chart, _make_round_table(rounds, material), class_="halves wide-right")
    note = say("A pilot is drawn at random and learns; the rollout spends on what was learnt.")
    waves = _make_wave_table(rounds, material)
    return [
        make_card(title, both, span=12, simulated=material.simulated),
        make_card(say("Wave by wave"), waves, span=12, simulated=material.simulated, note=note),
    ]


def _make_round_table(rounds: list[Mapping[str, Any]], material: Material) -> Html:
    rows: list[list[Child]] = [
        [
            show(read_number(row.get("round")) or at, "count", material.currency),
            _show_tinted(row.get("incremental_profit"), material.currency),
            show(read_number(row.get("true_incremental_profit")), "money", material.currency, signed=True),
            show(read_number(row.get("cost")), "money", material.currency),
            show_effect(read_figure(row.get("roi")), "ratio", material.currency),
        ]
        for at, row in enumerate(rounds, start=1)
    ]
    head = [say("Round"), say("Incremental profit"), say("Truth (simulated)"), say("Cost"), say("ROI")]
    return make_table(head, rows)


def _show_tinted(value: object, currency: str) -> Html:
    figure = read_figure(value)
    tone = {1: "gain", -1: "loss"}.get(figure.sense if figure else 0, "quiet")
    return make("span", show_effect(figure, "money", currency), class_=tone)


def _make_wave_table(rounds: list[Mapping[str, Any]], material: Material) -> Html:
    rows = [
        _list_wave(at, wave, material.currency)
        for at, row in enumerate(rounds, start=1)
        for wave in read_rows(row.get("waves"))
    ]
    head: list[Child] = [say("Wave"), say("Start"), say("Chosen"), say("Cost"), say("Promised")]
    head += [say("Realised"), say("Truth (simulated)"), say("Interval")]
    return make_table(head, rows) if rows else make_quiet(say("No wave has been planned."))


def name_wave(name: object) -> Text | str:
    """Pilot or rollout."""
    return {"pilot": say("pilot"), "rollout": say("rollout")}.get(str(name), str(name or "—"))


def tell_exploring() -> Text:
    """What stands in the place of a promise where a wave only explores."""
    return say("nothing promised: this wave explores")


def _list_wave(number: int, wave: Mapping[str, Any], currency: str) -> list[Child]:
    strategy, evaluation = read_map(wave.get("strategy")), read_map(wave.get("evaluation"))
    truth = read_map(wave.get("truth"))
    name = make_both(name_wave(wave.get("wave")))
    promised = read_promise(strategy, evaluation)
    realised = evaluation.get("realised") or evaluation.get("incremental_profit")
    return [
        Both(f"{number} · {name.en}", f"{number} · {name.zh}"),
        show_date(wave["as_of"]) if wave.get("as_of") else NONE,
        show(read_number(strategy.get("chosen")), "count", currency),
        show(read_number(strategy.get("cost")), "money", currency),
        make("small", tell_exploring()) if promised is None else show_effect(promised, "money", currency),
        _show_tinted(realised, currency),
        show(read_number(truth.get("incremental_profit")), "money", currency, signed=True),
        _mark_covered(truth.get("covered")),
    ]


def _mark_covered(covered: object) -> Child:
    if not isinstance(covered, bool):
        return NONE
    return (
        make_pill(say("holds the truth"), "gain") if covered else make_pill(say("misses the truth"), "amber")
    )
