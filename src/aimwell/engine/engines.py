"""Which engine answers which queries.

DuckDB answers all of them unless the settings name another engine; that one then answers what is compiled from
specifications: the steps ``goals`` and ``analysis``. The other steps work on their results, which are small, and stay
on DuckDB.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aimwell.engine.clickhouse_session import ClickHouseSession
from aimwell.engine.session import Session
from aimwell.engine.settings import EngineSettings
from aimwell.engine.spark_session import SparkSession
from aimwell.engine.translated_session import TranslatedSession

STEPS = frozenset({"goals", "analysis"})
"""The steps whose queries run on the engine that the settings name."""


def open_session(
    settings: EngineSettings, folder: Path, files: Mapping[str, list[str]], *, step: str | None
) -> Session | TranslatedSession:
    """A snapshot of ``files`` for the queries of ``step``; NotReady when the engine is not installed."""
    if step in STEPS and settings.name == "spark":
        return SparkSession(settings, folder, files)
    if step in STEPS and settings.name == "clickhouse":
        return ClickHouseSession(settings, folder, files)
    return Session(settings, folder, files)
