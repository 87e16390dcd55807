"""Rules as SQL: the same answers as plain Python, each source read once, nothing of the user in the text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.rule import All, Compare, InSegment, Not, Rule, Sequence, Step, did
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.specification import Condition
from aimwell.engine.sql_text import quote_name, show_sql
from tests.engine.rule_world import (
    LINKED,
    RULES,
    TYPES,
    Happened,
    World,
    build_tags,
    decide,
    draw_segments,
    draw_world,
)
from tests.engine.scratch import AS_OF, Scratch

EMPTY = {**dict.fromkeys(TYPES), "customers.home": None}


@settings(max_examples=40, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3), draw_world())
def test_sql_and_plain_python_agree_on_every_rule(rules: list[Rule], world: World) -> None:
    scratch = world.open()
    named = {f"rule_{number}": rule for number, rule in enumerate(rules)}
    query = compile_rules(named, TYPES, as_of=AS_OF)
    found = scratch.run_by_customer(query)
    for number in range(len(world.tags)):
        assert found[f"c{number}"] == {name: decide(rule, world, number) for name, rule in named.items()}
    # What people read is what was run.
    assert scratch.query(show_sql(query)).equals(scratch.run(query))


@settings(max_examples=40, deadline=None)
@given(LINKED, draw_segments(), draw_world())
def test_rules_may_name_segments_that_name_segments(
    rule: Rule, segments: dict[str, Rule], world: World
) -> None:
    query = compile_rules({"asked": rule, **segments}, TYPES, as_of=AS_OF, segments=segments)
    found = world.open().run_by_customer(query)
    for number in range(len(world.tags)):
        asked = {"asked": rule, **segments}
        assert found[f"c{number}"] == {
            name: decide(one, world, number, segments) for name, one in asked.items()
        }


@settings(max_examples=40, deadline=None)
@given(RULES, draw_world())
def test_deciding_some_customers_gives_what_deciding_all_gives(rule: Rule, world: World) -> None:
    scratch = world.open()
    everybody = scratch.run_by_customer(compile_rules({"asked": rule}, TYPES, as_of=AS_OF))
    scratch.connection.execute("CREATE TABLE due AS SELECT 'c1' AS customer_id UNION ALL SELECT 'c9'")
    some = scratch.run_by_customer(compile_rules({"asked": rule}, TYPES, as_of=AS_OF, among="due"))
    assert some == {name: row for name, row in everybody.items() if name == "c1"}


@settings(deadline=None)
@given(RULES, draw_world())
def test_a_rule_and_its_opposite_share_everybody_out(rule: Rule, world: World) -> None:
    scratch = world.open()
    query = compile_rules({"inside": rule, "outside": Not(rule)}, TYPES, as_of=AS_OF)
    rows = scratch.run(query).to_pylist()
    assert all(row["inside"] is not row["outside"] for row in rows)
    assert [row["customer_id"] for row in rows] == [f"c{number}" for number in range(len(world.tags))]


def test_a_comparison_with_an_empty_tag_is_false_and_its_opposite_true() -> None:
    scratch = Scratch({"tags": build_tags([dict(EMPTY)])})
    rules: dict[str, Rule] = {
        "is": Compare("age", "=", 1),
        "is_not": Compare("age", "!=", 1),
        "not_is": Not(Compare("age", "=", 1)),
    }
    assert scratch.run_by_customer(compile_rules(rules, TYPES, as_of=AS_OF)) == {
        "c0": {"is": False, "is_not": False, "not_is": True}
    }


def name_step(name: str, within: int | None = None) -> Step:
    return Step("events", (Condition("name", "=", name),), within)


ABANDONED = Sequence((name_step("Seen"), name_step("Added", 3)), name_step("Bought", 7))


def test_who_left_the_cart_is_known_when_the_last_day_is_over_and_not_before() -> None:
    def live(*happened: tuple[str, int]) -> bool:
        events = [
            Happened("c0", name, None, ago, 0, f"e{number}") for number, (name, ago) in enumerate(happened)
        ]
        scratch = World([dict(EMPTY)], events).open()
        return bool(scratch.run_by_customer(compile_rules({"x": ABANDONED}, TYPES, as_of=AS_OF))["c0"]["x"])

    assert live(("Seen", 10), ("Added", 8))
    assert not live(("Seen", 10), ("Added", 7)), "there is still a day to buy"
    assert not live(("Seen", 12), ("Added", 8)), "more than three days between"
    assert not live(("Seen", 10), ("Added", 8), ("Bought", 1)), "bought on the seventh day"
    assert live(("Seen", 11), ("Added", 9), ("Bought", 1)), "bought on the eighth"
    assert not live(("Added", 9), ("Seen", 9), ("Bought", 1)), "the wrong way round"
    assert live(("Seen", 30), ("Seen", 10), ("Added", 8)), "the later look counts"


def test_events_of_one_reach_are_read_once_and_values_are_bound() -> None:
    rules: dict[str, Rule] = {
        "a": did("Seen'; DROP TABLE tags; --", 1, 7),
        "b": All((did("Bought", 2, 30), Compare("city", "=", "x' OR '1'='1"))),
    }
    query = compile_rules(rules, TYPES, as_of=AS_OF)
    assert query.sql.count("FROM events") == 1
    assert "DROP" not in query.sql
    assert "OR '1'" not in query.sql
    assert "DROP TABLE" in show_sql(query)


def test_a_segment_that_many_name_is_decided_once() -> None:
    segments: dict[str, Rule] = {"s0": did("Seen", 1, 7)}
    for number in range(1, 25):
        segments[f"s{number}"] = AnyOne((InSegment(f"s{number - 1}"), Not(InSegment(f"s{number - 1}"))))
    query = compile_rules({"asked": InSegment("s24")}, TYPES, as_of=AS_OF, segments=segments)
    assert len(query.sql) < 40_000
    scratch = World([dict(EMPTY)]).open()
    assert scratch.run(query).column("asked").to_pylist() == [True]


def test_names_are_quoted_where_they_could_mean_something_else() -> None:
    assert quote_name("recency_days") == "recency_days"
    assert quote_name("order") == '"order"'
    assert quote_name("current_date") == '"current_date"'
    assert quote_name('a "b"') == '"a ""b"""'
