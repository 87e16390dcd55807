"""ClickHouse answers every question as DuckDB does, row by row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.rule import Rule
from aimwell.engine.workspace import Reader
from tests.conformance.conftest import open_on
from tests.conformance.questions import Question, list_questions
from tests.conformance.refreshed import refresh
from tests.conformance.rows import find_differences
from tests.conformance.world import AS_OF
from tests.engine.rule_world import RULES, TYPES, World, build_tags, draw_world
from tests.engine.scratch import AS_OF as RULE_DAY

QUESTIONS = dict(list_questions())


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_rows(name: str, on_duckdb: Reader, on_clickhouse: Reader) -> None:
    question: Question = QUESTIONS[name]
    assert find_differences(question(on_duckdb), question(on_clickhouse), name) == []


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(draw_world(), st.lists(RULES, min_size=1, max_size=4))
def test_random_rules_hold_for_the_same_customers(
    on_duckdb: Reader, on_clickhouse: Reader, world: World, rules: list[Rule]
) -> None:
    query = compile_rules(
        {f"rule_{number}": rule for number, rule in enumerate(rules)}, TYPES, as_of=RULE_DAY
    )
    tables = {"rule_tags": build_tags(world.tags)}
    answers = []
    for reader in (on_duckdb, on_clickhouse):
        scratch = world.open()
        for name in ("customers", "events", "order_lines", "products"):
            tables[f"rule_{name}"] = scratch.query(f"SELECT * FROM {name}")
        for name, table in tables.items():
            reader.register(name, table)
        sql, changed = re.subn(
            r'\b(FROM|JOIN) "?(tags|customers|events|order_lines|products)\b"?', r"\1 rule_\2", query.sql
        )
        assert changed
        answers.append(reader.query(sql, query.parameters))
    assert find_differences(*answers) == []


def test_refreshed_tags_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_on("duckdb", tmp_path / "a") as ours, open_on("clickhouse", tmp_path / "b") as theirs:
        steps = zip(refresh(ours, monkeypatch), refresh(theirs, monkeypatch), strict=True)
        for (step, expected), (_, found) in steps:
            assert find_differences(expected, found, step) == []


def test_the_whole_step_gives_the_same_tags_and_segments(tmp_path: Path) -> None:
    with open_on("duckdb", tmp_path / "a") as ours, open_on("clickhouse", tmp_path / "b") as theirs:
        results = [describe(workspace, as_of=AS_OF) for workspace in (ours, theirs)]
        assert find_differences(results[0].summary, results[1].summary) == []
        for table in ("tags", "segments", "segment_members"):
            with ours.read() as expected, theirs.read() as found:
                sql = f"SELECT * EXCLUDE (run_id) FROM {table}"
                assert find_differences(expected.query(sql), found.query(sql), table) == []


def test_what_cannot_be_translated_is_said_in_words(on_clickhouse: Reader) -> None:
    for sql in ("COPY customers TO 'x.csv'", "SELECT regexp_extract_all(city, 'a') AS x FROM customers"):
        with pytest.raises(BadInput) as caught:
            on_clickhouse.query(sql)
        assert caught.value.code in ("engine.not_portable", "engine.cannot_answer")
