"""Spark answers every question as DuckDB does, row by row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.engine.workspace import Reader
from tests.conformance.conftest import open_on
from tests.conformance.questions import Question, list_questions
from tests.conformance.refreshed import refresh
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


def test_refreshed_tags_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_on("duckdb", tmp_path / "a") as ours, open_on("spark", tmp_path / "b") as theirs:
        steps = zip(refresh(ours, monkeypatch), refresh(theirs, monkeypatch), strict=True)
        for (step, expected), (_, found) in steps:
            assert find_differences(expected, found, step) == []


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


def test_a_command_on_spark_says_nothing_but_our_own_words(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="Spark is not installed")
    with open_on("spark", tmp_path) as workspace:
        path = workspace.path
    command = [sys.executable, "-c", "from aimwell.cli.app import main; main()", "-w", str(path)]
    environment = {**os.environ, "AIMWELL_LANGUAGE": "en"}
    done = subprocess.run(
        [*command, "analysis", "run", "--as-of", AS_OF.isoformat()],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "segments as of" in done.stdout
