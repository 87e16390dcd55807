"""Claim: a CSV file becomes checked, typed, deduplicated tables within 2 GB of memory, whatever its size.

The peer is DuckDB's own ``read_csv`` with declared types, written as one Parquet file, in a process of its own: it
checks nothing, keeps no rejects, finds no duplicates and knows no months. Small: 0.05 GB. Full: 2 GB
(``AIMWELL_BENCH_GB`` takes another size). Run it as ``python -m bench.load --scale small|full``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.result import emit, read_scale

LIMIT_MB = 2_000
_BLOCK = 200_000


def write_file(path: Path, size: int) -> int:
    """A file of order lines of ``size`` bytes, the same each time; one line in 100,000 is bad. Its rows."""
    rng = np.random.default_rng(20_260_101)
    rows = 0
    with path.open("wb") as stream:
        stream.write(b"order_id,customer_id,order_time,product_id,quantity,amount,store,coupon\n")
        while stream.tell() < size:
            stream.write(_make_block(rng, rows))
            rows += _BLOCK
    return rows


def _make_block(rng: np.random.Generator, first: int) -> bytes:
    customers = rng.integers(1, 2_000_000, _BLOCK)
    seconds = rng.integers(0, 365 * 86_400, _BLOCK)
    stamps = np.datetime_as_string(np.datetime64("2025-01-01T00:00:00") + seconds.astype("timedelta64[s]"))
    products = rng.integers(1, 50_000, _BLOCK)
    units = rng.integers(1, 9, _BLOCK)
    cents = rng.integers(100, 99_999, _BLOCK)
    lines = [
        f"o{first + place},{customer:07},{stamp.replace('T', ' ')},p{product:05},{unit},{cent / 100:.2f},"
        f"s{place % 97:02},\n"
        for place, (customer, stamp, product, unit, cent) in enumerate(
            zip(customers, stamps.tolist(), products, units, cents, strict=True)
        )
    ]
    lines[0] = lines[0].replace(",,", ",not a line,", 1) if first % 100_000 else f"o{first},cut\n"
    return "".join(lines).encode()


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
    size = 50_000_000 if scale == "small" else int(float(os.environ.get("AIMWELL_BENCH_GB", "2")) * 1e9)
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
