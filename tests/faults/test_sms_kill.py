"""Processes that send SMS are killed with SIGKILL at random moments; nothing is lost or doubled in silence."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimwell.deployment.channels.sms_reports import settle_doubts
from aimwell.deployment.ledger import Ledger
from aimwell.engine.store import Store
from tests.deployment.scene import count, fill, open_ledger, open_store
from tests.deployment.sms_provider import Provider, run_provider
from tests.deployment.smsc import Mood, run_smsc
from tests.faults.sms_sender import TERMS, WINDOW, send
from tests.faults.victims import PATIENCE, count_kills, kill, start, wait_until

KILLS = count_kills(8)
MESSAGES = 150


def begin(folder: Path, port: int, kind: str) -> Any:
    return start(send, str(folder / "store.sqlite"), port, kind)


def has_come(seen: Callable[[], int], goal: int, process: Any) -> Callable[[], bool]:
    return lambda: seen() >= goal or not process.is_alive()


def kill_and_finish(folder: Path, port: int, kind: str, seen: Callable[[], int]) -> None:
    """Kill senders somewhere between two messages, again and again; then let one come to its end."""
    chance = random.Random(kind)
    for _ in range(KILLS):
        process = begin(folder, port, kind)
        goal = seen() + chance.randrange(1, 15)
        wait_until(has_come(seen, goal, process), "the sender made no progress")
        kill(process)
    process = begin(folder, port, kind)
    process.join(PATIENCE)
    assert process.exitcode == 0


def prepare(folder: Path) -> tuple[Store, Ledger]:
    store = open_store(folder)
    ledger = open_ledger(store, terms=TERMS)
    fill(ledger, [f"c{number}" for number in range(MESSAGES)], channel="sms")
    return store, ledger


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_killed_senders_over_http(tmp_path: Path, kind: str) -> None:
    _, ledger = prepare(tmp_path)
    # Only a provider of class A knows a repeat.
    with run_provider(Provider(rejects_repeats=kind == "A")) as provider:
        kill_and_finish(tmp_path, provider.port, kind, lambda: len(provider.orders))
        arrived = Counter(order["out_id"] for order in provider.taken)
    sent = {row["delivery_id"] for row in ledger.read_rows() if row["state"] == "sent"}
    doubt = {row["delivery_id"] for row in ledger.read_rows() if row["state"] == "in_doubt"}
    assert max(arrived.values()) == 1, "silent duplicates"
    assert sent <= set(arrived), "silent loss"
    assert set(arrived) <= sent | doubt and len(sent) + len(doubt) == MESSAGES
    assert len(doubt) <= (WINDOW * KILLS if kind == "C" else 0)


def test_killed_senders_over_smpp(tmp_path: Path) -> None:
    store, ledger = prepare(tmp_path)
    with run_smsc(Mood()) as smsc:
        kill_and_finish(tmp_path, smsc.port, "smpp", lambda: len(smsc.seen))
        arrived = Counter(message.text for message in smsc.taken)
    doubts = count(ledger).get("in_doubt", 0)
    assert doubts <= WINDOW * KILLS
    with store.begin() as connection:
        settled = settle_doubts(connection, 1)
    states = count(ledger)
    # What the centre had answered for before the kill is known to be sent.
    assert states.get("in_doubt", 0) == doubts - settled
    rows = {f"【店】{row['customer_id']}，生鲜8折，拒收请回复R": row["state"] for row in ledger.read_rows()}
    assert max(arrived.values()) == 1, "silent duplicates"
    assert {text for text, state in rows.items() if state == "sent"} <= set(arrived), "silent loss"
    assert all(rows[text] in ("sent", "in_doubt") for text in arrived)
    assert states["sent"] + states.get("in_doubt", 0) == MESSAGES
