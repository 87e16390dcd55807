"""Claim: a CSV file becomes checked, typed, deduplicated tables within 2 GB of memory, whatever its size.

The peer is DuckDB's own ``read_csv`` with declared types, written as one Parquet file, in a process of its own: it
checks nothing, keeps no rejects, finds no duplicates and knows no months. Small: 0.05 GB. Full: 10 GB, some twenty
minutes and 40 GB of disk (``AIMWELL_BENCH_GB`` takes another size). Run it as
``python -m bench.load --scale small|full``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from bench.result import emit, read_scale

LIMIT_MB = 2_000
_BLOCK = 200_000


def write_file(path: Path, size: int) -> int:
    """A file of order lines of ``size`` bytes, the same each time; one line in 200,000 is bad. Its rows."""
    rng = np.random.default_rng(20_260_101)
    words = _spell_words()
    rows = 0
    with path.open("wb") as stream:
        stream.write(b"order_id,customer_id,order_time,product_id,quantity,amount,store,coupon\n")
        while stream.tell() < size:
            stream.write(f"o{rows},cut\n".encode())
            _write_block(stream, rng, words, rows)
            rows += _BLOCK
    return rows


def _spell_words() -> dict[str, pa.Array]:
    """Every value of a column as text, so that a block of lines is taken rather than spelled."""
    return {
        "customer": pa.array([f"{number:07}" for number in range(2_000_000)]),
        "day": pa.array([f"{date(2025, 1, 1) + timedelta(days=number)} " for number in range(365)]),
        "clock": pa.array([f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in range(86_400)]),
        "product": pa.array([f"p{number:05}" for number in range(50_000)]),
        "cents": pa.array([f"{number / 100:.2f}" for number in range(100_000)]),
        "store": pa.array([f"s{number:02}" for number in range(97)]),
    }


def _write_block(stream: BinaryIO, rng: np.random.Generator, words: dict[str, pa.Array], first: int) -> None:
    customers = rng.integers(1, 2_000_000, _BLOCK)
    seconds = rng.integers(0, 365 * 86_400, _BLOCK)
    products = rng.integers(1, 50_000, _BLOCK)
    units = rng.integers(1, 9, _BLOCK)
    cents = rng.integers(100, 99_999, _BLOCK)
    numbers = pa.array(np.arange(first, first + _BLOCK)).cast(pa.string())
    columns = [
        pc.binary_join_element_wise("o", numbers, ""),
        words["customer"].take(pa.array(customers)),
        pc.binary_join_element_wise(
            words["day"].take(pa.array(seconds // 86_400)),
            words["clock"].take(pa.array(seconds % 86_400)),
            "",
        ),
        words["product"].take(pa.array(products)),
        pa.array(units),
        words["cents"].take(pa.array(cents)),
        words["store"].take(pa.array(np.arange(_BLOCK) % 97)),
        pa.array([""]).take(pa.array(np.zeros(_BLOCK, np.int64))),
    ]
    # The first line of a block is the bad one, which stands there already.
    table = pa.Table.from_arrays(columns, names=[f"c{place}" for place in range(len(columns))]).slice(1)
    pa_csv.write_csv(table, stream, pa_csv.WriteOptions(include_header=False, quoting_style="none"))


def load(path: str, folder: str) -> dict[str, float]:
    """Ours, in this process: rows, rejected, CPU and elapsed seconds, peak in MB."""
    from aimwell.data.step import add_source
    from aimwell.engine.workspace import Workspace

    workspace = Workspace.create(Path(folder) / "shop")
    start = time.perf_counter()
    result = add_source(
        workspace, path, table="order_lines", accept=True, progress=lambda text: print(str(text), flush=True)
    )
    elapsed = time.perf_counter() - start
    workspace.close()
    return {"rows": result.summary["rows"], "rejected": result.summary["rejected"], **_spent(elapsed)}


def load_peer(path: str, folder: str) -> dict[str, float]:
    """DuckDB's reader, in this process."""
    import duckdb

    connection = duckdb.connect(config={"memory_limit": "2GB", "threads": 2, "temp_directory": folder})
    connection.execute("SET enable_progress_bar = false")
    start = time.perf_counter()
    connection.execute(
        f"""
        COPY (SELECT * FROM read_csv('{path}', header = true, ignore_errors = true, columns = {{
            'order_id': 'VARCHAR', 'customer_id': 'VARCHAR', 'order_time': 'TIMESTAMP', 'product_id': 'VARCHAR',
            'quantity': 'DOUBLE', 'amount': 'DECIMAL(18,2)', 'store': 'VARCHAR', 'coupon': 'VARCHAR'}}))
        TO '{folder}/peer.parquet' (COMPRESSION zstd)
        """
    )
    return {"rows": 0, "rejected": 0, **_spent(time.perf_counter() - start)}


def _spent(elapsed: float) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return {"cpu": used.ru_utime + used.ru_stime, "elapsed": elapsed, "peak": peak}


def _run_alone(work: str, path: Path, folder: str) -> dict[str, float]:
    """A process of its own, so that its peak of memory is its own."""
    code = f"import json; from bench.load import {work}; print(json.dumps({work}({str(path)!r}, {folder!r})))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    print("\n".join(lines[:-1]))
    figures: dict[str, float] = json.loads(lines[-1])
    return figures


def main() -> None:
    """Write the file, load it both ways, print the figures."""
    scale = read_scale(__doc__ or "")
    size = 50_000_000 if scale == "small" else int(float(os.environ.get("AIMWELL_BENCH_GB", "10")) * 1e9)
    with tempfile.TemporaryDirectory(dir=os.environ.get("AIMWELL_BENCH")) as folder:
        path = Path(folder) / "orders.csv"
        rows = write_file(path, size)
        print(f"{path.stat().st_size / 1e9:.2f} GB, {rows:,} rows", flush=True)
        peer = _run_alone("load_peer", path, folder)
        ours = _run_alone("load", path, folder)
    print(f"peer {peer}\nours {ours}", flush=True)
    emit(
        claim=f"a CSV becomes checked tables within {LIMIT_MB} MB; CPU beside DuckDB's reader, without a limit",
        ours=ours["cpu"],
        peer=peer["cpu"],
        unit="CPU s",
        holds=ours["peak"] <= LIMIT_MB and ours["rows"] == rows,
        rows=rows,
        rejected=ours["rejected"],
        peak_mb=round(ours["peak"]),
        rows_a_second=round(rows / ours["elapsed"]),
    )


if __name__ == "__main__":
    main()
