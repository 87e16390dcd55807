"""Spark answers every question as DuckDB does, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.engine.workspace import Reader
from tests.conformance.conftest import open_on
from tests.conformance.questions import Question, list_questions
from tests.conformance.rows import find_differences
from tests.conformance.world import AS_OF

# Spark takes a second for each: what differs by a value only is asked once.
QUESTIONS = {
    name: question
    for name, question in list_questions()
    if not name.startswith("delivered") and "366 days" not in name
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_rows(name: str, on_duckdb: Reader, on_spark: Reader) -> None:
    question: Question = QUESTIONS[name]
    assert find_differences(question(on_duckdb), question(on_spark), name) == []


def test_the_whole_step_gives_the_same_tags_and_segments(tmp_path: Path) -> None:
    with open_on("duckdb", tmp_path / "a") as ours, open_on("spark", tmp_path / "b") as theirs:
        results = [describe(workspace, as_of=AS_OF) for workspace in (ours, theirs)]
        assert find_differences(results[0].summary, results[1].summary) == []
        for table in ("tags", "segments", "segment_members"):
            with ours.read() as expected, theirs.read() as found:
                sql = f"SELECT * EXCLUDE (run_id) FROM {table}"
                assert find_differences(expected.query(sql), found.query(sql), table) == []


def test_a_query_that_fails_on_the_way_is_said_in_words(on_spark: Reader) -> None:
    with pytest.raises(BadInput) as caught:
        on_spark.query("SELECT CAST(customer_id AS BIGINT) AS x FROM customers")
    assert caught.value.code == "engine.cannot_answer"
