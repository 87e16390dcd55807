"""Sending processes are killed with SIGKILL at random moments; nothing may be lost or doubled in silence."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aimwell.deployment.channels.mime import identify_mail
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.sink import Sink
from tests.deployment.scene import SENDER, count, fill, open_ledger, open_store
from tests.faults.sender import TERMS, send
from tests.faults.victims import PATIENCE, count_kills, kill, sleep_at_random, start, wait_until

KILLS = {kind: count_kills(usual) for kind, usual in {"A": 6, "B": 8, "C": 12}.items()}
MAILS = 300


def begin(folder: Path, port: int, kind: str) -> Any:
    return start(send, str(folder / "store.sqlite"), port, kind, folder / "out")


def kill_at_random(folder: Path, port: int, kind: str, ledger: Ledger, chance: random.Random) -> int:
    """Start, let it send for a random while, kill; returns how many kills fell into open intents."""
    fell_open = 0
    for _ in range(KILLS[kind]):
        process = begin(folder, port, kind)
        # From the first reservation on: a kill while it only waits for a lease proves nothing.
        wait_for_progress(ledger, process)
        sleep_at_random(chance, 0.12)
        kill(process)
        fell_open += count(ledger).get("intent", 0) > 0
    return fell_open


def wait_for_progress(ledger: Ledger, process: Any) -> None:
    def count_attempts() -> int:
        return sum(row["attempts"] for row in ledger.read_rows())

    before = count_attempts()
    wait_until(lambda: count_attempts() != before or not process.is_alive(), "the sender made no progress")


def finish(folder: Path, port: int, kind: str) -> None:
    process = begin(folder, port, kind)
    process.join(PATIENCE)
    assert process.exitcode == 0


def ids_in(ledger: Ledger, state: str) -> set[str]:
    return {row["delivery_id"] for row in ledger.read_rows() if row["state"] == state}


@pytest.mark.parametrize("kind", ["C", "B"])
def test_killed_mailers_lose_and_double_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "out").mkdir()
    ledger = open_ledger(open_store(tmp_path), terms=TERMS)
    fill(ledger, [f"c{number}" for number in range(MAILS)])
    with Sink(tmp_path / "out") as sink:
        kill_at_random(tmp_path, sink.port, kind, ledger, random.Random(kind))
        finish(tmp_path, sink.port, kind)
        arrived = Counter(sink.message_ids)
    sent = {identify_mail(delivery, SENDER) for delivery in ids_in(ledger, "sent")}
    doubt = {identify_mail(delivery, SENDER) for delivery in ids_in(ledger, "in_doubt")}
    assert sum(count(ledger).values()) == MAILS
    assert max(arrived.values()) == 1, "silent duplicates"
    assert sent <= set(arrived), "silent loss"
    assert set(arrived) <= sent | doubt, "arrived without a record"
    assert len(sent) + len(doubt) == MAILS
    print(
        f"{KILLS[kind]} kills, class {kind}: {len(doubt)} in doubt, {sum(d in arrived for d in doubt)} of them arrived"
    )
    # At most one window of four connections is in flight at a kill; whoever can be asked leaves no doubt.
    assert len(doubt) <= (4 * KILLS[kind] if kind == "C" else 0)


def test_killed_writers_of_an_outbox_file_lose_and_double_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), terms=TERMS)
    fill(ledger, [f"c{number}" for number in range(MAILS)])
    fell_open = kill_at_random(tmp_path, 1, "A", ledger, random.Random("A"))
    finish(tmp_path, 1, "A")
    assert count(ledger) == {"sent": MAILS}
    with (tmp_path / "out" / "sms.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["delivery_id"] for row in rows} == ids_in(ledger, "sent")
    assert len(rows) == MAILS
    assert 0 <= fell_open <= KILLS["A"]
