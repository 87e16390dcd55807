"""What runs in processes that a test may kill at any moment: ``run("load" | "work" | "read", …)``.

The loader says on its log, line by line, which batches were acknowledged; the reader how many events it saw and
whether any was seen twice.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

from aimwell.core.errors import Conflict
from aimwell.data.event_intake import take_events
from aimwell.data.event_profiles import merge_profiles
from aimwell.engine.compaction import compact, merge_files
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace

BATCH = 40


def build_message(loader: str, number: int) -> dict[str, object]:
    order = {"order_id": f"o{loader}-{number}", "revenue": 1, "products": [{"product_id": "p", "price": 1}]}
    return {
        "type": "track",
        "event": "Order Completed" if number % 10 == 0 else "Product Viewed",
        "messageId": f"{loader}-{number}",
        "userId": f"u{number % 50}",
        "anonymousId": f"a{number % 50}",
        "timestamp": f"2024-0{number % 2 + 1}-15T00:00:00Z",
        "properties": order if number % 10 == 0 else {"product_id": "p"},
    }


def load(workspace: Workspace, seed: str, log: Path) -> None:
    chance, number = random.Random(seed), 0
    loader, _, first = seed.partition(":")
    number = int(first or 0)
    with log.open("a") as stream:
        while True:
            batch = [build_message(loader, number + offset) for offset in range(BATCH)]
            take_events(workspace, batch)
            # Written only after the store has answered: this is the acknowledgement.
            os.write(stream.fileno(), f"{number}\n".encode())
            # Now and then a batch is sent again, as a sender does that had no answer.
            number += BATCH if chance.random() < 0.9 else 0


def work(workspace: Workspace, seed: str, log: Path) -> None:
    while True:
        compact(workspace, most_rows=400)
        merge_files(workspace, most_files=3)
        with suppress(Conflict):
            merge_profiles(workspace)
        vacuum(workspace)
        with log.open("a") as stream:
            stream.write("moved\n")


def read(workspace: Workspace, seed: str, log: Path) -> None:
    with log.open("a") as stream:
        while True:
            with workspace.read() as reader:
                row = reader.query(
                    "SELECT COUNT(*) AS n, COUNT(DISTINCT event_id) AS d FROM events"
                ).to_pylist()[0]
            os.write(stream.fileno(), f"{row['n']} {row['d']}\n".encode())


def run(kind: str, folder: Path, seed: str, log: Path) -> None:
    """Never ends by itself."""
    {"load": load, "work": work, "read": read}[kind](Workspace.open(folder), seed, log)
