"""Section 5: what was sent, what was not and why; nobody is lost between the plan and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.figures import show
from aimwell.report.markup import Child, Html, join, make
from aimwell.report.parts import (
    make_card,
    make_facts,
    make_lacks,
    make_pill,
    make_quiet,
    make_section,
    make_split,
    make_table,
)
from aimwell.report.reading import Material, read_map, read_number, read_rows, read_text
from aimwell.report.sections.plan import name_channel


def make_deployment(material: Material) -> Html:
    """The section."""
    deployment = material.part("deployment")
    missing = say(
        "Nothing has been launched yet: approve the plan, then launch the pilot: `aimwell round` does both."
    )
    cards = [
        _make_states(deployment),
        _make_reasons(deployment, material),
        _make_channels(deployment, material),
        _make_outbox(deployment, material),
    ]
    return make_section(
        "deployment",
        5,
        say("Deployment"),
        say("What went out, what was held back and why. Every customer of the plan is accounted for."),
        *(cards if material.has("deployment") else ()),
        make_lacks(deployment, missing),
    )


def name_states() -> dict[str, tuple[Text, str]]:
    """The states of a delivery: name and colour role."""
    return {
        "sent": (say("sent"), "gain"),
        "skipped": (say("skipped"), "quiet"),
        "failed": (say("failed"), "loss"),
        "in_doubt": (say("in doubt"), "amber"),
        "queued": (say("queued"), "pale"),
    }


def _make_states(deployment: Mapping[str, Any]) -> Html:
    states = read_map(deployment.get("states"))
    parts = [
        (title, read_number(states.get(name)) or 0.0, tone) for name, (title, tone) in name_states().items()
    ]
    sums_up = deployment.get("sums_up")
    verdict = None
    if isinstance(sums_up, bool):
        verdict = make_pill(say("adds up"), "gain") if sums_up else make_pill(say("does not add up"), "loss")
    title = join(make("span", say("Deliveries by state")), verdict)
    note = say("In doubt: the provider did not answer before the process ended; counted, never sent twice.")
    return make_card(title, make_split(parts), span=7, note=note)


def _make_reasons(deployment: Mapping[str, Any], material: Material) -> Html:
    facts: list[tuple[Child, Child]] = [
        (
            read_text(row.get("title"), row.get("code") or "—"),
            show(read_number(row.get("customers")), "count", material.currency),
        )
        for row in read_rows(deployment.get("reasons"))
    ]
    body = make_facts(facts) if facts else make_quiet(say("Nobody was held back."))
    return make_card(say("Why some were held back"), body, span=5)


def _make_channels(deployment: Mapping[str, Any], material: Material) -> Html:
    names = ("planned", "sent", "skipped", "failed", "in_doubt")
    rows: list[list[Child]] = [
        [
            read_text(row.get("title"), name_channel(row.get("channel"))),
            *(show(read_number(row.get(name)), "count", material.currency) for name in names),
            show(read_number(row.get("cost")), "money", material.currency),
        ]
        for row in read_rows(deployment.get("by_channel"))
    ]
    head = [
        say("Channel"),
        say("Planned"),
        say("Sent"),
        say("Skipped"),
        say("Failed"),
        say("In doubt"),
        say("Cost"),
    ]
    body = make_table(head, rows) if rows else make_quiet(say("No channel was used."))
    return make_card(say("By channel"), body, span=7)


def _make_outbox(deployment: Mapping[str, Any], material: Material) -> Html:
    rows: list[list[Child]] = [
        [
            name_channel(row.get("channel")),
            make("span", str(row.get("file") or "—"), class_="long"),
            show(read_number(row.get("rows")), "count", material.currency),
        ]
        for row in read_rows(deployment.get("outbox"))
    ]
    head = [say("Channel"), say("File"), say("Rows")]
    body = make_table(head, rows, names=2) if rows else make_quiet(say("No file was written for a provider."))
    return make_card(say("Files for providers"), body, span=5)
