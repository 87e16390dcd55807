"""Queries on Spark, on this machine or on a cluster, over the same Parquet files. Needs the extra ``spark`` and Java.

One Spark runs in a process; each session has views and settings of its own. On this machine it spills into the
workspace that first asked for it (``engine.spill``). On a cluster the workspace's folder must be one that all machines
see, and where Spark's machines spill is for the cluster's own settings to say.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.session import out_of_memory
from aimwell.engine.settings import EngineSettings
from aimwell.engine.spill import SpillFolder
from aimwell.engine.translated_session import TranslatedSession

# ``variable.substitute`` off: otherwise Spark would read ${…} inside a text as a variable.
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.variable.substitute": "false",
    # No file is read by naming it in FROM.
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
}


class SparkSession(TranslatedSession):
    """A snapshot on Spark SQL."""

    dialect = "spark"
    title = "Spark"

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
        self._spark = open_spark(settings, folder)
        super().__init__(settings, folder, files)

    def close(self) -> None:
        """End the session; Spark itself runs until the process ends."""
        for name in self._ready:
            self._drop(name)
        super().close()

    def _run(self, sql: str, values: dict[str, Any]) -> pa.Table:
        bound = {name: _render_value(value) for name, value in values.items() if value is not None}
        try:
            return self._spark.sql(sql, args=bound or None).toArrow()
        except (
            Exception
        ) as error:  # Spark's own kinds, or those of its bridge when a job fails while rows are fetched
            text = str(error)
            if "UNABLE_TO_ACQUIRE_MEMORY" in text or "OutOfMemoryError" in text:
                raise out_of_memory() from error
            # Some of Spark's errors say nothing but their kind.
            raise self._fail(text.strip().split("\n")[0] or type(error).__name__) from error

    def _show_files(self, name: str, paths: list[Path], stored: Mapping[str, pa.DataType]) -> None:
        schema = ", ".join(f"{_quote(column)} {_name_type(kind)}" for column, kind in stored.items())
        # Spark would read signs such as * in a folder's name as a pattern.
        plain = [re.sub(r"([\\*?{}\[\]])", r"\\\1", str(path.resolve())) for path in paths]
        self._spark.read.schema(schema).parquet(*plain).createOrReplaceTempView(name)

    def _create_view(self, name: str, sql: str) -> None:
        self._spark.sql(sql).createOrReplaceTempView(name)

    def _drop(self, name: str) -> None:
        self._spark.catalog.dropTempView(name)


def open_spark(settings: EngineSettings, warehouse: Path | None) -> Any:
    """A session of the Spark of this process, with names and settings of its own; NotReady as ``start_spark``."""
    session = start_spark(settings, warehouse).newSession()
    for name, value in _SETTINGS.items():
        session.conf.set(name, value)
    return session


def start_spark(settings: EngineSettings, warehouse: Path | None) -> Any:
    """The Spark of this process, started when there is none; NotReady when Spark or Java is missing or fails.

    Without a ``warehouse`` it spills into the system's temporary folder: for public data.
    """
    try:
        from pyspark import SparkConf, SparkContext
        from pyspark.sql import SparkSession as Spark
    except ImportError as error:
        raise NotReady(
            "engine.spark_missing",
            say("Spark is not installed."),
            remedy=say("Install it with: pip install aimwell[spark]"),
        ) from error
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise NotReady(
            "engine.java_missing",
            say("Spark needs Java 17 or newer, and there is none."),
            remedy=say("Install Java, or set JAVA_HOME to its folder."),
        )
    # What fails is raised and said once; Spark's own account of it quotes values of customers.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
    # It warns of versions of pandas in a step that nothing here takes.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"pyspark\.")
    conf = SparkConf().setAppName("aimwell").set("spark.log.level", "OFF")
    for name, value in (_SETTINGS | _describe_machine(settings)).items():
        conf = conf.set(name, value)
    running: Any = getattr(SparkContext, "_active_spark_context", None)
    if running is not None and _spills and not _spills[-1].is_open:
        # The workspace into which it spilled was removed.
        running.stop()
        running = None
    if running is None:
        if warehouse is not None and settings.spark_master is None:
            conf = conf.set("spark.local.dir", _make_spill(warehouse))
        _start_quietly(conf)
    return Spark.builder.config(conf=conf).getOrCreate()


_spills: list[SpillFolder] = []
"""Where this process's Spark spills: the last one counts."""


def _make_spill(warehouse: Path) -> str:
    _spills.append(SpillFolder(warehouse, "spark"))
    # It would outdo the configuration.
    os.environ.pop("SPARK_LOCAL_DIRS", None)
    return str(_spills[-1].path)


def _start_quietly(conf: Any) -> None:
    """Start Java without its greetings and warnings on people's screens; NotReady, in its words, when it fails."""
    from pyspark import SparkContext
    from pyspark.java_gateway import launch_gateway

    with tempfile.TemporaryFile() as said:
        try:
            # One that was stopped leaves its Java running.
            gateway = getattr(SparkContext, "_gateway", None) or launch_gateway(conf, {"stderr": said})
            SparkContext(conf=conf, gateway=gateway)
        except Exception as error:  # of Spark's own kinds, by what failed
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").splitlines()
            problem = next((line for line in lines if "Exception" in line or "Error" in line), str(error))
            raise NotReady(
                "engine.spark_fails",
                say("Spark does not start: {problem}", problem=problem.strip()[:300]),
                remedy=say('Check Java and the settings under [engine], or set engine.name = "duckdb".'),
            ) from error


def _describe_machine(settings: EngineSettings) -> dict[str, str]:
    """Where Spark runs; on a cluster its own settings decide about memory and partitions."""
    common = {"spark.ui.showConsoleProgress": "false"}
    if settings.spark_master:
        return common | {"spark.master": settings.spark_master}
    return common | {
        "spark.master": f"local[{settings.threads}]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": f"{settings.memory_bytes // 2**20}m",
        "spark.driver.maxResultSize": "0",
        "spark.sql.shuffle.partitions": str(settings.threads),
        # Each of the hundred parts of a query over all tags holds a page; the usual 16 MB and more would not fit.
        "spark.buffer.pageSize": "1m",
        "spark.ui.enabled": "false",
        # Where tables of Spark's own would be kept: we keep none, and it must not make a folder where somebody works.
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "aimwell-spark"),
    }


def _render_value(value: object) -> object:
    """Days are bound as text, which the statement casts (``engine.dialect``)."""
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value


def _name_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind):
        return "BIGINT" if kind.bit_width > 32 else "INT"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_floating(kind):
        return "DOUBLE"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    return "DATE" if pa.types.is_date(kind) else "STRING"


def _quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
