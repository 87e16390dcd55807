"""Between its due days a rule never changes its mind: looking at whoever is due equals looking at everybody."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
from hypothesis import given, settings

from aimwell.engine.compile_due import Boundary, compile_due, list_boundaries, read_due_day
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.rule import All, Compare, InSegment, Measured, Not, Rule, Sequence, Step, did
from aimwell.engine.specification import Aggregate, Condition, Window
from tests.engine.rule_world import RULES, TYPES, World, decide, draw_world
from tests.engine.scratch import AS_OF, Scratch

SEEN = (Condition("name", "=", "Seen"),)


def decide_due(scratch: Scratch, rule: Rule, day: date, customers: list[str]) -> dict[str, bool]:
    scratch.connection.register("due_now", pa.table({"customer_id": pa.array(customers, pa.string())}))
    query = compile_rules({"inside": rule}, TYPES, as_of=day, among="due_now")
    return {name: row["inside"] for name, row in scratch.run_by_customer(query).items()}


@settings(max_examples=40, deadline=None)
@given(RULES, draw_world())
def test_stepping_day_by_day_through_whoever_is_due_equals_asking_everybody(rule: Rule, world: World) -> None:
    scratch, start, days = world.open(), AS_OF - timedelta(days=9), 12
    members = {f"c{number}": decide(rule, world, number, as_of=start) for number in range(len(world.tags))}
    query = compile_due({"asked": rule}, after=start, until=start + timedelta(days=days))
    due: dict[date, list[str]] = {}
    for row in scratch.run(query).to_pylist() if query else []:
        due.setdefault(read_due_day(row["due"]), []).append(row["customer_id"])
    for number in range(1, days + 1):
        day = start + timedelta(days=number)
        if day in due:
            members.update(decide_due(scratch, rule, day, due[day]))
        expected = {f"c{one}": decide(rule, world, one, as_of=day) for one in range(len(world.tags))}
        assert members == expected, day


def test_boundaries_are_the_days_on_which_rows_come_and_go() -> None:
    assert list_boundaries(did("Seen", 1, 30)) == {Boundary("events", SEEN, 1), Boundary("events", SEEN, 31)}
    earlier = Measured(Aggregate("orders", "count", None, (), Window(30, 5)), ">", 0)
    assert list_boundaries(earlier) == {Boundary("order_lines", (), 6), Boundary("order_lines", (), 36)}
    step = Step("events", SEEN)
    left = Sequence((step,), Step("events", SEEN, 7), None)
    assert {one.offset for one in list_boundaries(left)} == {1, 8}
    named: dict[str, Rule] = {"a": Not(did("Seen", 1, 2)), "b": InSegment("a")}
    assert {one.offset for one in list_boundaries(InSegment("b"), named)} == {1, 3}


def test_a_rule_of_tags_only_is_never_due() -> None:
    rule = All((Compare("age", ">", 1), Compare("customers.home", "=", "Bonn")))
    assert compile_due({"tags": rule}, after=AS_OF) is None
