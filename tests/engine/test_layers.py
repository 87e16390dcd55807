"""The bounds of a column, out of footers, are those of the layers when they are read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from aimwell.engine.layers import read_bounds, read_layers, split_layers

VALUE = st.one_of(st.none(), st.integers(-5, 5))
FILE = st.lists(VALUE, max_size=4)
LAYER = st.lists(st.tuples(FILE, st.booleans()), max_size=2)
PLAIN = st.lists(st.tuples(FILE, st.booleans()), min_size=1, max_size=2)


def write(folder: Path, name: str, values: list[int | None], *, noted: bool, more: bool) -> Path:
    """A file of a few customers; ``noted``: its footer knows minima and maxima; ``more``: it has another column."""
    columns = {"customer_id": pa.array([f"c{number}" for number in range(len(values))], pa.string())}
    columns["day"] = pa.array(values, pa.int64())
    if more:
        columns["other"] = pa.array(values, pa.int64())
    path = folder / name
    pq.write_table(pa.table(columns), path, write_statistics=noted, row_group_size=2)
    return path


@given(PLAIN, LAYER, LAYER)
def test_bounds_are_those_of_what_is_read(
    plain: list[tuple[list[int | None], bool]],
    over: list[tuple[list[int | None], bool]],
    patch: list[tuple[list[int | None], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), []
        for suffix, files in ((".parquet", plain), ("-overlay.parquet", over), ("-patch.parquet", patch)):
            for number, (values, noted) in enumerate(files):
                more = suffix != "-overlay.parquet"
                paths.append(write(folder, f"r{number}{suffix}", values, noted=noted, more=more))
        layers = split_layers(paths)
        for column in ("day", "other"):
            tables = read_layers(layers, "customer_id", [column])
            read = [table[column].to_pylist() for table in tables if column in table.column_names]
            seen = [value for values in read for value in values if value is not None]
            assert read_bounds(layers, column) == ((min(seen), max(seen)) if seen else None)
