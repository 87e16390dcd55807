"""Funnels as SQL find what trying every attempt by hand finds."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings

from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES
from aimwell.engine.compile_funnel import compile_funnel, compile_next_rows
from aimwell.engine.funnel import Breakdown, Condition, Funnel, Step, build_stages, match_event
from tests.engine.funnel_world import END, Happening, build_happenings, funnels, histories, search_by_hand
from tests.engine.scratch import Scratch, build_lines


def run(rows: list[Happening], funnel: Funnel) -> dict[str, tuple[int, list[object]]]:
    found = Scratch({"events": build_happenings(rows)}).run(compile_funnel(funnel)).to_pylist()
    count = len(funnel.steps)
    return {
        row["customer_id"]: (
            row["level"],
            [at for number in range(count) if (at := row[f"reached_{number + 1}"]) is not None],
        )
        for row in found
    }


@settings(max_examples=150, deadline=None)
@given(histories(), funnels())
def test_the_query_finds_the_best_attempt(rows: list[Happening], funnel: Funnel) -> None:
    assert run(rows, funnel) == search_by_hand(rows, funnel)


def test_a_later_start_may_succeed_where_the_first_ran_out_of_time() -> None:
    rows = [
        Happening("p", name, minute, i) for i, (name, minute) in enumerate([("a", 0), ("a", 9), ("b", 14)])
    ]
    level, instants = run(rows, Funnel((match_event("a"), match_event("b")), timedelta(minutes=10), END))["p"]
    assert (level, len(instants)) == (2, 2)
    assert instants[1] - instants[0] == timedelta(minutes=5)  # type: ignore[operator]


def test_the_window_includes_its_end_and_an_exclusion_ends_the_attempt() -> None:
    rows = [Happening("p", "a", 0, 0), Happening("p", "b", 10, 1), Happening("q", "a", 0, 2)]
    rows += [Happening("q", "x", 3, 3), Happening("q", "b", 5, 4)]
    funnel = Funnel(
        (match_event("a"), match_event("b")), timedelta(minutes=10), END, exclusions=(match_event("x"),)
    )
    found = run(rows, funnel)
    assert {who: level for who, (level, _) in found.items()} == {"p": 2, "q": 1}


def test_orders_follow_events_and_parts_come_from_the_first_step() -> None:
    day = date(2024, 3, 2)
    orders = build_lines(
        {"customer_id": "p", "order_id": "o1", "ordered_on": day, "revenue": Decimal("30"), "quantity": 1.0},
        {"customer_id": "q", "order_id": "o2", "ordered_on": day, "revenue": Decimal("-5"), "quantity": -1.0},
    )
    rows = [Happening("p", "a", 0, 0), Happening("q", "a", 0, 1)]
    funnel = Funnel(
        (match_event("a"), Step("orders", (Condition("revenue", ">=", 10),))),
        timedelta(days=1),
        END,
        breakdown=Breakdown("step", "name"),
    )
    found = Scratch({"events": build_happenings(rows), "order_lines": orders}).run(compile_funnel(funnel))
    assert [(row["customer_id"], row["level"], row["part"]) for row in found.to_pylist()] == [
        ("p", 2, "a"),
        ("q", 1, "a"),
    ]


def test_a_step_may_ask_for_the_category_of_the_products_of_an_event() -> None:
    rows = [Happening("p", "a", 0, 0), Happening("q", "a", 0, 1), Happening("p", "b", 1, 2)]
    table = build_happenings(rows)
    place = table.schema.get_field_index("product_id")
    events = table.set_column(place, "product_id", pa.array(["p1", "p2", None], pa.string()))
    products = TABLES["products"].build(
        [{"product_id": f"p{n}", "category": name, "source": "t"} for n, name in ((1, "TEA"), (2, "CUPS"))]
    )
    viewed = Step("events", (Condition("name", "=", "a"), Condition("category", "=", "TEA")))
    funnel = Funnel((viewed, match_event("b")), timedelta(days=1), END)
    found = Scratch({"events": events, "products": products}).run(compile_funnel(funnel)).to_pylist()
    assert [(row["customer_id"], row["level"]) for row in found] == [("p", 2)]


def test_stages_may_stand_in_a_property() -> None:
    events = build_happenings([Happening("p", "Stage", 0, 0), Happening("p", "Stage", 5, 1)])
    values = ['{"stage": "线索"}', '{"stage": "商机"}']
    column = TABLES["events"].schema.get_field_index("properties")
    events = events.set_column(column, TABLES["events"].schema.field("properties"), [values])
    found = Scratch({"events": events}).run(
        compile_funnel(build_stages("properties.stage", ("线索", "商机", "合同"), end=END))
    )
    assert [row["level"] for row in found.to_pylist()] == [2]


def test_what_came_next_instead() -> None:
    rows = [
        Happening("p", "a", 0, 0),
        Happening("p", "a", 1, 4),
        Happening("p", "x", 2, 1),
        Happening("p", "d", 3, 2),
        Happening("q", "a", 0, 3),
    ]
    funnel = Funnel((match_event("a"), match_event("b")), timedelta(minutes=10), END)
    scratch = Scratch({"events": build_happenings(rows)})
    attempts = scratch.query(
        "SELECT customer_id, MIN(occurred_at) AS last_at, 'a' AS last_name FROM events GROUP BY customer_id"
    )
    scratch.connection.register("attempts", attempts)
    assert scratch.run(compile_next_rows(funnel)).to_pylist() == [{"customer_id": "p", "next_name": "x"}]


@pytest.mark.parametrize(
    ("funnel", "code"),
    [
        (Funnel((), timedelta(days=1), END), "engine.funnel_steps"),
        (Funnel((match_event("a"),), timedelta(0), END), "engine.funnel_window"),
        (Funnel((match_event("a"),), timedelta(days=1), END, start=END), "engine.funnel_days"),
        (
            Funnel((Step("events", (Condition("nome", "=", "a"),)),), timedelta(days=1), END),
            "engine.unknown_column",
        ),
        (
            Funnel((match_event("a"),), timedelta(days=1), END, breakdown=Breakdown("step", "chanel")),
            "engine.unknown_column",
        ),
        (build_stages("properties.a'b", ("x",), end=END), "engine.bad_property"),
    ],
)
def test_what_cannot_be_is_refused(funnel: Funnel, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        compile_funnel(funnel)
    assert caught.value.code == code
