"""Where candidate pairs are made and compared: a DuckDB in memory, or Spark when the settings name it.

Both hold the tables ``features`` and ``candidates`` and answer the same SQL, DuckDB's, which is said in Spark's words
where Spark runs; ``likeness`` (Jaro-Winkler) and ``slips`` (Damerau-Levenshtein) are functions of both. Splink writes
its own SQL for either. Reads features and writes scratch tables, which end with it.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.engine.dialect import translate
from aimwell.engine.settings import EngineSettings
from aimwell.engine.spark_session import open_spark
from aimwell.engine.spill import SpillFolder

_SLICE = 500_000
"""Pairs that splink compares at a time in memory."""


class Backend(ABC):
    """A place for scratch tables, and splink's way to it."""

    database: Any
    """What splink's ``Linker`` takes."""
    slice: int | None
    """How many pairs splink may compare at a time; None: all at once."""
    keys_at_once: int
    """How many keys' blocks are counted by one query."""

    @abstractmethod
    def put(self, name: str, table: pa.Table) -> None:
        """Keep the rows of ``table`` under ``name``."""

    @abstractmethod
    def keep(self, name: str, sql: str) -> None:
        """Keep the rows of ``sql`` under ``name``, worked out once; what was called so before is replaced."""

    @abstractmethod
    def query(self, sql: str) -> pa.Table:
        """The rows of ``sql``, which is DuckDB's."""


class _DuckBackend(Backend):
    slice = _SLICE
    keys_at_once = 1

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        from splink import DuckDBAPI

        self._connection = connection
        connection.execute("SET enable_progress_bar = false")
        connection.execute("CREATE MACRO likeness(one, other) AS jaro_winkler_similarity(one, other)")
        connection.execute("CREATE MACRO slips(one, other) AS damerau_levenshtein(one, other)")
        self.database = DuckDBAPI(connection)

    def put(self, name: str, table: pa.Table) -> None:
        self._connection.register("delivered", table)
        self._connection.execute(f"CREATE TABLE {name} AS SELECT * FROM delivered")
        self._connection.unregister("delivered")

    def keep(self, name: str, sql: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")

    def query(self, sql: str) -> pa.Table:
        return self._connection.sql(sql).to_arrow_table()


class _SparkBackend(Backend):
    slice = None
    # Each query costs half a second, however little it reads.
    keys_at_once = 16

    def __init__(self, settings: EngineSettings, folder: Path, warehouse: Path | None) -> None:
        from splink import SparkAPI

        self._folder = folder
        self._spark = open_spark(settings, warehouse)
        self._name_likeness()
        self._spark.sparkContext.setCheckpointDir(str(folder / "splink"))
        api: Any = SparkAPI
        self.database = api(
            spark_session=self._spark, break_lineage_method="parquet", register_udfs_automatically=False
        )

    def put(self, name: str, table: pa.Table) -> None:
        path = self._folder / f"{name}.parquet"
        pq.write_table(table, path)
        self._show(name, path)

    def keep(self, name: str, sql: str) -> None:
        path = self._folder / name
        rows = self._spark.sql(translate(sql, "spark").sql)
        rows.write.mode("overwrite").parquet(str(path))
        self._show(name, path)

    def query(self, sql: str) -> pa.Table:
        return self._spark.sql(translate(sql, "spark").sql).toArrow()

    def _show(self, name: str, path: Path) -> None:
        self._spark.read.parquet(str(path)).createOrReplaceTempView(name)

    def _name_likeness(self) -> None:
        """Name the measures that splink brings for Spark (its jar, MIT).

        They count half a transposition where DuckDB rounds down; Spark's own Jaro-Winkler leaves out the threshold of
        0.7 below which a common beginning counts nothing, and is further off. DuckDB measures UTF-8 bytes: read as
        Latin-1, a byte is a character to the jar as well.
        """
        from pyspark.sql.types import DoubleType
        from splink.backends.spark import similarity_jar_location

        self._spark.sql(f"ADD JAR '{similarity_jar_location()}'")
        for name, kind in _MEASURES.items():
            inner = f"jar_{name}"
            self._spark.udf.registerJavaFunction(inner, f"uk.gov.moj.dash.linkage.{kind}", DoubleType())
            signs = ", ".join(f"decode(encode({one}, 'UTF-8'), 'ISO-8859-1')" for one in ("one", "other"))
            self._spark.sql(
                f"CREATE OR REPLACE TEMPORARY FUNCTION {name}(one STRING, other STRING) RETURNS DOUBLE"
                f" RETURN {inner}({signs})"
            )


_MEASURES = {"likeness": "JaroWinklerSimilarity", "slips": "LevDamerauDistance"}


@contextmanager
def open_backend(settings: EngineSettings, warehouse: Path | None = None) -> Iterator[Backend]:
    """The engine of ``settings`` if it is Spark, DuckDB otherwise; its tables last as long as the block.

    They stand on disk in ``warehouse``, which all machines of a cluster see; None, which is the system's temporary
    folder, is for people who are nobody's customers here (public data). NotReady when Spark is wanted and missing.
    """
    with ExitStack() as end:
        if warehouse is None:
            own = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="aimwell-")))
        else:
            spill = end.enter_context(SpillFolder(warehouse, "identity"))
            end.enter_context(spill.watch())
            own = spill.path
        if settings.name == "spark":
            yield _SparkBackend(settings, own, warehouse)
        else:
            with duckdb.connect(
                config={
                    "threads": settings.threads,
                    "memory_limit": settings.memory_limit,
                    # Left alone, it would spill into the folder where somebody works.
                    "temp_directory": str(own / "spilt"),
                }
            ) as connection:
                yield _DuckBackend(connection)
