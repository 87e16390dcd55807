"""What every bench prints last: one JSON object on one line, so that a program can read it."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Scale = Literal["small", "full"]
T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What a piece of work took: CPU and elapsed seconds of this process and of children that ended."""

    cpu: float
    elapsed: float


def measure(work: Callable[[], T]) -> tuple[T, Cost]:
    """What ``work`` answers, and what it cost."""
    cpu, start = _cpu_seconds(), time.perf_counter()
    answer = work()
    return answer, Cost(_cpu_seconds() - cpu, time.perf_counter() - start)


def peak_memory() -> float:
    """The largest resident set of this process so far; megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )


def read_scale(description: str) -> Scale:
    """``--scale small|full`` of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    scale: Scale = parser.parse_args().scale
    return scale


def emit(*, claim: str, ours: float, peer: float, unit: str, holds: bool, **more: Any) -> None:
    """Print the JSON line: ``ratio`` is ours ÷ peer."""
    ratio = round(ours / peer, 4) if peer else None
    figures = {
        "claim": claim,
        "ours": round(ours, 4),
        "peer": round(peer, 4),
        "ratio": ratio,
        "unit": unit,
        "holds": holds,
    }
    print(json.dumps({**figures, **more, "cores": os.cpu_count()}, ensure_ascii=False), flush=True)


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
