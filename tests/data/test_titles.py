"""Tables and columns have words in both languages wherever an erasure, an export or a finding names them."""

from __future__ import annotations

import json

from aimwell.core.tables import ALL_TABLES
from aimwell.core.text import Text, say
from aimwell.data.erasure_store import list_person_tables
from aimwell.data.findings import Finding
from aimwell.data.person import list_person_columns
from aimwell.data.titles import name_place


def test_every_place_of_a_person_has_a_name() -> None:
    places = [table.name for table in ALL_TABLES if list_person_columns(table)]
    places += [f"store:{table.name}" for table, _ in list_person_tables()]
    places += [place.replace("store:", "store_") for place in places if place.startswith("store:")]
    for place in (*places, "store:words", "files", "rejects"):
        title = name_place(place)
        assert isinstance(title, Text), place
        assert title.both()["zh"] != title.both()["en"]


def tell(column: str, check: str) -> dict[str, str]:
    finding = Finding(
        "shop", "order_lines", column, "partial", check, 1, 2, (),
        lambda affected, total, column: say(
            "{affected} of {total} rows have no value in '{column}'.", affected=affected, total=total, column=column
        ),
        say("Deliver it, or go on without it."), 0.1, 0.2,
    )  # fmt: skip
    return dict(Text.from_json(json.loads(json.dumps(finding.to_row("run")["finding"]))).both())


def test_findings_name_columns_as_people_do() -> None:
    told = tell("ordered_hour", "missing_values")
    assert "hour of the order" in told["en"]
    assert "下单小时" in told["zh"]
    # A column of a file has the name that stands in it.
    assert "ordered_hour" in tell("ordered_hour", "rejected_bad_number")["zh"]
    assert "shoe_size" in tell("shoe_size", "missing_values")["en"]
