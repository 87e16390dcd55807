"""All overlaps of 20 segments, and a combination of them: roaring bitmaps beside DuckDB's SQL and Polars, in one run.

The peers get the same membership as a table of flags, one row per customer, in memory. Reads nothing but made-up
flags; the last line is JSON.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.analysis.bitmaps import SegmentBitmaps, number_members
from aimwell.engine.rule import All, InSegment, Not
from aimwell.engine.rule import Any as AnyOf
from bench.generated import CUSTOMERS_BY_SCALE
from bench.result import emit, read_scale

SEGMENTS = 20
REPEATS = 9
LIMIT_MS = 5.0


def make_flags(customers: int) -> NDArray[np.bool_]:
    """Segments of 0.5 % to 60 %: half of them drawn at random, half of runs, as rules by id or time would be."""
    rng = np.random.default_rng(20)
    flags = np.zeros((customers, SEGMENTS), np.bool_)
    for number, share in enumerate(np.geomspace(0.005, 0.6, SEGMENTS)):
        if number % 2:
            flags[:, number] = rng.random(customers) < share
        else:
            runs = np.repeat(rng.random(customers // 50 + 1) < share, 50)[:customers]
            flags[:, number] = runs
    return flags


def take_time(work: Callable[[], Any]) -> tuple[Any, float]:
    """The answer, and the median CPU milliseconds of several runs (all threads)."""
    answer, costs = work(), []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        costs.append((time.process_time() - start) * 1000)
    return answer, float(np.median(costs))


def overlap_by_sql(connection: duckdb.DuckDBPyConnection) -> list[list[int]]:
    """One scan with a sum per pair, which is the quickest SQL that we know."""
    pairs = [(i, j) for i in range(SEGMENTS) for j in range(i, SEGMENTS)]
    sums = ", ".join(f"COUNT(CASE WHEN s{i} AND s{j} THEN 1 END)" for i, j in pairs)
    row = connection.execute(f"SELECT {sums} FROM flags").fetchone()
    return fill(pairs, [int(value) for value in row or ()])


def overlap_by_polars(frame: Any) -> list[list[int]]:
    import polars

    pairs = [(i, j) for i in range(SEGMENTS) for j in range(i, SEGMENTS)]
    sums = [(polars.col(f"s{i}") & polars.col(f"s{j}")).sum().alias(f"p{i}_{j}") for i, j in pairs]
    return fill(pairs, [int(value) for value in frame.select(sums).row(0)])


def fill(pairs: list[tuple[int, int]], counts: list[int]) -> list[list[int]]:
    matrix = [[0] * SEGMENTS for _ in range(SEGMENTS)]
    for (i, j), count in zip(pairs, counts, strict=True):
        matrix[i][j] = matrix[j][i] = count
    return matrix


def main() -> None:
    import polars

    scale = read_scale(str(__doc__).split("\n", 1)[0])
    customers = CUSTOMERS_BY_SCALE[scale]
    flags = make_flags(customers)
    start = time.process_time()
    maps = {f"s{number}": number_members(flags[:, number]) for number in range(SEGMENTS)}
    building = (time.process_time() - start) * 1000
    bitmaps = SegmentBitmaps(pa.nulls(customers, pa.string()), maps)
    table = pa.table({f"s{number}": pa.array(flags[:, number]) for number in range(SEGMENTS)})
    connection = duckdb.connect(config={"threads": 2, "temp_directory": tempfile.gettempdir()})
    connection.register("arrow_flags", table)
    connection.execute("CREATE TABLE flags AS SELECT * FROM arrow_flags")
    frame = polars.from_arrow(table)

    ours, own = take_time(bitmaps.count_overlaps)
    by_sql, sql = take_time(lambda: overlap_by_sql(connection))
    by_polars, other = take_time(lambda: overlap_by_polars(frame))
    assert ours == by_sql == by_polars

    parts = [AnyOf((InSegment(f"s{n}"), InSegment(f"s{n + 1}"))) for n in (15, 9, 5)]
    rule = All((*parts, Not(InSegment("s19"))))
    combined, own_set = take_time(lambda: bitmaps.count(rule))
    where = "(s15 OR s16) AND (s9 OR s10) AND (s5 OR s6) AND NOT s19"
    sql_rows, sql_set = take_time(
        lambda: connection.execute(f"SELECT COUNT(*) FROM flags WHERE {where}").fetchone()
    )
    assert sql_rows is not None
    assert combined == sql_rows[0]
    print(f"{customers:,} customers, {SEGMENTS} segments; bitmaps built in {building:.0f} ms")
    print(f"overlaps: bitmaps {own:.2f} ms, DuckDB {sql:.1f} ms, Polars {other:.1f} ms (CPU)")
    print(f"three ORs, AND, NOT: bitmaps {own_set:.2f} ms, DuckDB {sql_set:.2f} ms (CPU)")
    emit(
        claim=f"all overlaps of {SEGMENTS} segments at {customers:,} customers, at most {LIMIT_MS:g} ms",
        ours=own,
        peer=min(sql, other),
        unit="CPU ms",
        holds=own <= LIMIT_MS and own < min(sql, other),
        scale=scale,
        duckdb=round(sql, 2),
        polars=round(other, 2),
        set_algebra=round(own_set, 3),
        set_algebra_duckdb=round(sql_set, 3),
        building=round(building, 1),
    )


if __name__ == "__main__":
    main()
