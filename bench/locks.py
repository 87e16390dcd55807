"""How long the store's write lock is waited for and held, and what the disk alone takes to make a write durable."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from aimwell.engine.store import Store

EDGES_MS = (2, 5, 10, 20, 50, 100, 250)
_WRITES, _BYTES = 100, 65_536


class Turn(NamedTuple):
    """One transaction that writes: seconds until it had the lock, and until it gave it back."""

    waited: float
    held: float


def watch_locks(store: Store) -> list[Turn]:
    """From now on every writing transaction of ``store`` adds what it took to the list."""
    turns: list[Turn] = []

    @contextmanager
    def begin() -> Iterator[sa.Connection]:
        asked = time.perf_counter()
        with store.engine.begin() as connection:
            given = time.perf_counter()
            yield connection
        turns.append(Turn(given - asked, time.perf_counter() - given))

    setattr(store, "begin", begin)  # noqa: B010  (a method cannot be assigned to)
    return turns


def summarise_locks(turns: Sequence[Turn]) -> dict[str, object]:
    """Milliseconds waited and held: quantiles, the longest, and how many were held for how long."""
    held = sorted(turn.held for turn in turns)
    counts = dict.fromkeys([f"to {edge}" for edge in EDGES_MS] + [f"over {EDGES_MS[-1]}"], 0)
    for one in held:
        edge = next((edge for edge in EDGES_MS if 1000 * one <= edge), None)
        counts[f"over {EDGES_MS[-1]}" if edge is None else f"to {edge}"] += 1
    return {
        "turns": len(turns),
        "waited_p99_ms": _find_quantile(sorted(turn.waited for turn in turns), 0.99),
        "held_p50_ms": _find_quantile(held, 0.5),
        "held_p99_ms": _find_quantile(held, 0.99),
        "held_longest_ms": _find_quantile(held, 1.0),
        "held_ms": counts,
    }


def measure_disk(folder: Path) -> dict[str, float]:
    """Milliseconds of writing 64 KB and fdatasync, with nothing of ours running: no durable commit is quicker."""
    path, took = folder / "disk", []
    with path.open("wb", buffering=0) as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(os.urandom(_BYTES))
            # Not on every system; the other one writes the file's times as well.
            getattr(os, "fdatasync", os.fsync)(file.fileno())
            took.append(time.perf_counter() - began)
            time.sleep(0.005)
    path.unlink()
    took.sort()
    return {"fdatasync_p50_ms": _find_quantile(took, 0.5), "fdatasync_p99_ms": _find_quantile(took, 0.99)}


def _find_quantile(ordered: Sequence[float], share: float) -> float:
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1) if ordered else 0.0
