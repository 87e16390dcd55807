"""The three engines over the same small world; what is not installed here is skipped, saying so."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aimwell.engine.workspace import Reader, Workspace
from tests.conformance.world import Engine, make_workspace

# Compiling and optimising code pays for millions of rows, not for hundreds: thirty times as fast without.
QUICK_SPARK = (
    "--conf spark.sql.codegen.wholeStage=false --conf spark.sql.codegen.factoryMode=NO_CODEGEN"
    " --conf spark.sql.adaptive.enabled=false"
    ' --driver-java-options "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" pyspark-shell'
)


def find_missing(engine: Engine) -> str | None:
    """Why ``engine`` cannot be tested here."""
    if engine == "clickhouse" and importlib.util.find_spec("chdb") is None:
        return "chdb is not installed: make engines"
    if engine == "spark" and importlib.util.find_spec("pyspark") is None:
        return "pyspark is not installed: make engines"
    if engine == "spark" and shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Spark needs Java 17, and there is none"
    return None


@contextmanager
def open_on(engine: Engine, path: Path) -> Iterator[Workspace]:
    """A workspace of the world on ``engine``; skips the test when the engine is not here."""
    if reason := find_missing(engine):
        pytest.skip(reason)
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", QUICK_SPARK)
    with warnings.catch_warnings():
        # Of pandas, which Spark imports when it is there and we do not use.
        warnings.filterwarnings(
            "ignore", message="PySpark does not yet fully support pandas", category=FutureWarning
        )
        workspace = make_workspace(path, engine)
        try:
            yield workspace
        finally:
            workspace.close()


@pytest.fixture(scope="session")
def on_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with (
        open_on("duckdb", tmp_path_factory.mktemp("duckdb") / "w") as workspace,
        workspace.read("analysis") as reader,
    ):
        yield reader


@pytest.fixture(scope="session")
def on_clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    path = tmp_path_factory.mktemp("clickhouse") / "w"
    with open_on("clickhouse", path) as workspace, workspace.read("analysis") as reader:
        yield reader


@pytest.fixture(scope="session")
def on_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    # The folder's name has signs that Spark and ClickHouse would take for a pattern.
    path = tmp_path_factory.mktemp("spark") / "w{a,b} [1]*"
    with open_on("spark", path) as workspace, workspace.read("analysis") as reader:
        yield reader
