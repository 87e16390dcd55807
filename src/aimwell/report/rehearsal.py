"""The page of a rehearsal: what each policy earned by round on simulated markets, with intervals. All simulated.

Reads no table and writes none. One file without network, like the report of a round, and in both languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import Axis, Band, Curves, Line
from aimwell.report.figures import show_effect, show_interval, show_money
from aimwell.report.markup import Both, Child, Html, join, join_all, make, make_both
from aimwell.report.page import compose
from aimwell.report.parts import make_card, make_chart, make_points, make_section, make_simulated, make_table
from aimwell.report.reading import Figure, read_figure, read_list, read_map, read_rows, read_texts

TONES = ("accent", "amber", "gain", "truth", "loss")
"""Colours of the policies in the payload's order; ours comes first."""


def render_rehearsal(payload: Mapping[str, Any], *, currency: str) -> str:
    """The page as one HTML text.

    ``payload["cases"]``: for each market its ``title`` and ``lead`` in both languages, ``policies`` (each with
    ``title``, ``profit``, ``by_round`` and ``ours_less_by_round``: an estimate with its interval for each round) and
    ``sentences``. Raises NotReady where the charts' library is not installed.
    """
    title = make_both(say("Rehearsal of the next rounds (simulated)"))
    cases = read_rows(payload.get("cases"))
    links = [
        make("li", make("a", _read_both(case.get("title")), href=f"#case-{at}"))
        for at, case in _number(cases)
    ]
    brand = make("a", make("b", "准星"), make("span", "Aimwell"), class_="brand", href="#case-1")
    return compose(
        title,
        currency=currency,
        first="case-1",
        navigation=join(brand, make("ol", *links)),
        top=join(make("h1", title), make_simulated()),
        body=join_all(_make_case(at, case, currency) for at, case in _number(cases)),
    )


def _number(cases: list[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    return list(enumerate(cases, start=1))


def _make_case(number: int, case: Mapping[str, Any], currency: str) -> Html:
    policies = read_rows(case.get("policies"))
    earned = _draw(policies, "by_round", say("profit since the first round"))
    ahead = _draw(policies, "ours_less_by_round", say("ours less the other, since the first round"))
    cards = [
        make_card(
            say("Profit of all rounds so far"),
            make_chart(earned, say("Cumulative profit by round"), currency=currency, height="tall"),
            span=6,
            simulated=True,
            note=say("Mean over markets. Bands: 95% interval of the mean; markets differ much."),
        ),
        make_card(
            say("How far ours is ahead"),
            make_chart(
                ahead, say("Difference of cumulative profit by round"), currency=currency, height="tall"
            ),
            span=6,
            simulated=True,
            note=say("Paired by market. A band that holds zero: not proven."),
        ),
        make_card(say("After the last round"), _make_table(policies, currency), span=12, simulated=True),
    ]
    told = read_texts(case.get("sentences"))
    if told:
        cards.append(make_card(say("How to read this"), make_points(list(told)), span=12, simulated=True))
    lead = case.get("lead")
    return _make_section(number, case, lead, cards)


def _make_section(number: int, case: Mapping[str, Any], lead: object, cards: list[Html]) -> Html:
    return make_section(
        f"case-{number}",
        None,
        _read_both(case.get("title")),
        _read_both(lead) if lead else None,
        *cards,
    )


def _draw(policies: list[Mapping[str, Any]], key: str, title: Text) -> Curves:
    lines, bands = [], []
    for place, policy in enumerate(policies):
        figures = [read_figure(value) for value in read_list(policy.get(key))]
        points = [(float(at), figure) for at, figure in enumerate(figures, start=1) if figure is not None]
        if not points:
            continue
        tone = TONES[place % len(TONES)]
        name = _read_both(policy.get("title"))
        lines.append(Line(name, [(at, figure.estimate) for at, figure in points], tone=tone, dots=True))
        bounded = [
            (at, figure.lower, figure.upper)
            for at, figure in points
            if figure.lower is not None and figure.upper is not None
        ]
        bands.append(Band(make_both(say("95% interval")), bounded, tone=tone))
    last = max((line.points[-1][0] for line in lines), default=1.0)
    return Curves(
        Axis(make_both(say("round")), "count", 0.0, last), Axis(make_both(title), "money"), lines, bands
    )


def _make_table(policies: list[Mapping[str, Any]], currency: str) -> Html:
    rows: list[list[Child]] = []
    for policy in policies:
        profit = read_figure(policy.get("profit")) or Figure(0.0)
        difference = read_figure(policy.get("ours_less_this"))
        tone = {1: "gain", -1: "loss"}.get(difference.sense if difference else 0, "quiet")
        rows.append(
            [
                _read_both(policy.get("title")),
                show_money(profit.estimate, currency),
                show_interval(profit, "money", currency),
                make("span", show_effect(difference, "money", currency), class_=tone),
                None if difference is None else _tell(difference),
            ]
        )
    head: list[Child] = [
        say("Policy"),
        say("Profit of all rounds (simulated)"),
        say("95% interval"),
        say("Ours less this (simulated)"),
        "",
    ]
    return make_table(head, rows)


def _tell(difference: Figure) -> Text:
    return {1: say("ours is proven ahead"), -1: say("ours is proven behind")}.get(
        difference.sense, say("not proven")
    )


def _read_both(value: object) -> Both:
    text = read_map(value)
    return Both(str(text.get("en", "")), str(text.get("zh", "")))
