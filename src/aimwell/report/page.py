"""``render``: the payload of a round in, one HTML file out.

Reads no table and writes none. The file carries its style, its script and the charts' library inside; a
content-security policy names them by their SHA-256 and forbids everything else, network and eval included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.money import show_money
from aimwell.core.text import say
from aimwell.report.assets import load_assets, write_policy
from aimwell.report.figures import show_date
from aimwell.report.icons import draw_icon
from aimwell.report.markup import Both, Child, Html, embed_json, join, make, make_both
from aimwell.report.parts import make_simulated
from aimwell.report.reading import Material, read_map
from aimwell.report.ring import list_steps
from aimwell.report.sections.analysis import make_analysis
from aimwell.report.sections.data import make_data
from aimwell.report.sections.deployment import make_deployment
from aimwell.report.sections.evaluation import make_evaluation
from aimwell.report.sections.goal import make_goal
from aimwell.report.sections.overview import make_overview
from aimwell.report.sections.strategy import make_strategy


def render(payload: Mapping[str, Any], *, currency: str) -> str:
    """The report as one HTML text.

    ``payload`` has the keys of ``report.json``: goal, data, analysis, models, strategy, deployment,
    evaluation, truth, real_experiment, rounds, business, generated_at, simulated. Any may be missing or
    partial; its section then says what is lacking. ``currency`` is the ISO code of all money.
    Raises NotReady where the charts' library is not installed.
    """
    material = Material(payload, currency)
    return compose(
        _name_page(material),
        currency=currency,
        first="overview",
        navigation=_make_navigation(),
        top=_make_top(material),
        body=_make_body(material),
    )


def compose(title: Both, *, currency: str, first: str, navigation: Html, top: Html, body: Html) -> str:
    """A page of its parts: style, script and library inside, and a policy that forbids all else.

    ``first``: the id of the section that "skip to the figures" leads to.
    """
    assets = load_assets()
    parts = {
        "@POLICY@": write_policy(assets),
        "@TITLE@": str(make("title", Both(title.en, title.en))),
        "@STYLE@": f"<style>{assets.style}</style>",
        "@SKIP@": make("a", say("Skip to the figures"), class_="skip", href=f"#{first}"),
        "@NAVIGATION@": navigation,
        "@TOP@": top,
        "@TOOLS@": _make_tools(),
        "@BODY@": body,
        "@SETTINGS@": embed_json(_make_settings(title, currency)),
        "@LIBRARY@": f"<script>{assets.library}</script>",
        "@SCRIPT@": f"<script>{assets.script}</script>",
    }
    # Cut the skeleton at its places once: what is put in is never searched for places again.
    pieces = [assets.skeleton]
    for place, content in parts.items():
        head, _, tail = pieces.pop().partition(place)
        pieces += [head, content, tail]
    return "".join(pieces)


def _name_page(material: Material) -> Both:
    business = material.payload.get("business")
    name = str(read_map(business).get("name") or (business if isinstance(business, str) else "") or "Aimwell")
    title = say("{business}: the round in figures", business=name)
    return make_both(title)


def _make_settings(title: Both, currency: str) -> dict[str, Any]:
    """What the script must know: titles, the signs of money, and the few words that it writes itself."""
    words = {
        "truth": say("Truth (simulated)"),
        "promised": say("promised"),
        "interval": say("95% interval"),
        "estimate": say("Estimate"),
        "unproven": say("not proven"),
        "gain": say("proven gain"),
        "loss": say("proven loss"),
    }
    signs = {language: show_money(0, currency, language).removesuffix("0.00") for language in ("en", "zh")}
    return {
        "title": _pack(title),
        "signs": signs,
        "words": {name: _pack(make_both(text)) for name, text in words.items()},
    }


def _pack(text: Both) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}


def _make_navigation() -> Html:
    items = [("overview", None, say("Overview"))]
    links = [
        make("a", draw_icon(name), make("span", f"{number} · " if number else None, title), href=f"#{name}")
        for name, number, title in [
            *items,
            *((name, at, title) for at, (name, title) in enumerate(list_steps(), start=1)),
        ]
    ]
    brand = make(
        "a", draw_icon("brand"), make("b", "准星"), make("span", "Aimwell"), class_="brand", href="#overview"
    )
    return join(brand, make("ol", *(make("li", link) for link in links)))


def _make_top(material: Material) -> Html:
    when = material.payload.get("generated_at")
    stamp: Child = None
    if when:
        stamp = make("span", say("made on"), " ", show_date(when), class_="stamp")
    label = make_simulated() if material.simulated else None
    return join(make("h1", _name_page(material)), label, stamp)


def _make_tools() -> Html:
    # The button names the language that it leads to, in that language.
    other = Both("中文", "English")
    return join(
        make("button", draw_icon("print"), make("span", say("Print")), type="button", id="print"),
        make("button", draw_icon("language"), make("span", other), type="button", id="language"),
    )


def _make_body(material: Material) -> Html:
    banner = None
    if material.simulated:
        banner = make(
            "p",
            make_simulated(),
            " ",
            say(
                "The customers and their past are real; how they respond to the campaigns is simulated. "
                "Every figure that rests on a response carries this label."
            ),
            class_="banner",
        )
    return join(
        banner,
        make_overview(material),
        make_goal(material),
        make_data(material),
        make_analysis(material),
        make_strategy(material),
        make_deployment(material),
        make_evaluation(material),
    )
