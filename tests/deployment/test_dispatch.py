from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import AimwellError
from aimwell.deployment.campaign import Campaigns
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.dispatch import Circuit, Dispatcher, dispatch, find_due
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import Worked
from aimwell.deployment.ways import open_ledger
from aimwell.engine.permissions import go_on, halt
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import count, count_reasons, fill, intend

SENT = Receipt(Outcome.SENT)


class Recorder(Channel):
    """Keeps what it is handed, and answers as told."""

    promise = Promise.REJECTS_REPEATS
    window = 4

    def __init__(self, receipt: Receipt = SENT, *, gate: threading.Event | None = None) -> None:
        self.receipt, self.gate = receipt, gate
        self.taken: list[Message] = []
        self.batches = 0

    def deliver(self, message: Message) -> Receipt:
        if self.gate is not None:
            assert self.gate.wait(180)
        self.taken.append(message)
        return self.receipt

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        self.batches += 1
        return [self.deliver(message) for message in messages]


class Composer:
    def __init__(self) -> None:
        self.prepared: list[int] = []

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        self.prepared.append(len(candidates))

    def compose(self, candidate: Candidate) -> Message:
        if candidate.customer_id == "broken":
            raise LookupError
        return Message(
            candidate.delivery_id,
            candidate.plan_id,
            candidate.customer_id,
            "to@example.com",
            candidate.channel,
        )


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "shop", name="Shop", zone="Asia/Shanghai", currency="CNY")
    yield made
    made.close()


@pytest.fixture
def ledger(workspace: Workspace) -> Ledger:
    return open_ledger(workspace)


def test_journeys_are_handed_over_by_their_composer_and_others_left_alone(
    workspace: Workspace, ledger: Ledger
) -> None:
    fill(ledger, ["a", "b", "broken"], plan="journey:birthday")
    fill(ledger, ["c"], plan="live:today")
    way, composer = Recorder(), Composer()
    assert dispatch(workspace, {"email": way}, {"journey:": composer}) == 2
    assert {message.customer_id for message in way.taken} == {"a", "b"}
    assert composer.prepared == [3]
    assert count_reasons(ledger, "journey:birthday") == {None: 2, "content_error": 1}
    assert count(ledger, "live:today") == {"queued": 1}, "nobody can write it"
    assert dispatch(workspace, {"email": way}, {"journey:": composer, "live:": composer}) == 1


def test_a_slow_provider_slows_no_other(workspace: Workspace, ledger: Ledger) -> None:
    gate = threading.Event()
    slow, quick = Recorder(gate=gate), Recorder()
    fill(ledger, ["a", "b"], plan="journey:x", channel="email")
    fill(ledger, ["c", "d"], plan="journey:x", channel="web")
    running = threading.Thread(
        target=dispatch, args=(workspace, {"email": slow, "web": quick}, {"journey:": Composer()})
    )
    running.start()
    until = time.monotonic() + 180
    while len(quick.taken) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(quick.taken) == 2 and not slow.taken
    gate.set()
    running.join(180)
    assert count(ledger, "journey:x") == {"sent": 4}


def test_a_long_queue_keeps_no_later_turn_waiting(workspace: Workspace, ledger: Ledger) -> None:
    gate = threading.Event()
    slow, quick = Recorder(gate=gate), Recorder()
    fill(ledger, [f"c{number}" for number in range(40)], plan="journey:x", channel="email")
    dispatcher = Dispatcher(workspace, {"email": slow, "web": quick}, {"journey:": Composer()})
    dispatcher.turn()
    fill(ledger, ["late"], plan="journey:x", channel="web")
    assert (due := dispatcher.find_due()) is not None and due.timestamp() <= time.time()
    dispatcher.turn()
    until = time.monotonic() + 180
    while not quick.taken and time.monotonic() < until:
        time.sleep(0.01)
    assert [message.customer_id for message in quick.taken] == ["late"] and not slow.taken
    # The end: what is in flight is handed over and recorded, the rest is given back at once.
    ending = threading.Thread(target=dispatcher.stop)
    ending.start()
    assert dispatcher._stop.wait(180)
    gate.set()
    ending.join(180)
    assert not ending.is_alive() and len(slow.taken) == slow.window
    assert count(ledger, "journey:x") == {"sent": slow.window + 1, "queued": 40 - slow.window}
    assert dispatcher.turn() == slow.window + 1 and len(slow.taken) == slow.window


def test_a_dead_provider_is_left_alone_for_longer_each_time(workspace: Workspace, ledger: Ledger) -> None:
    dead, well = Recorder(Receipt(Outcome.TEMPORARY, "connection_failed")), Recorder()
    fill(ledger, [f"c{number}" for number in range(12)], plan="journey:x", channel="email")
    fill(ledger, ["w"], plan="journey:x", channel="web")
    now = time.time()
    dispatcher = Dispatcher(
        workspace, {"email": dead, "web": well}, {"journey:": Composer()}, clock=lambda: now
    )
    dispatcher.dispatch()
    assert dead.batches == 1, "after the first window nobody knocks again"
    assert len(well.taken) == 1
    due = dispatcher.find_due()
    assert due is not None and due.timestamp() > now + 1
    assert dispatcher.dispatch() == 0 and dead.batches == 1
    assert count(ledger, "journey:x") == {"queued": 12, "sent": 1}
    waits, circuit = [], Circuit()
    for _ in range(14):
        circuit = circuit.note("email", Worked(others=1, unreachable=True), 0.0)
        waits.append(circuit.until)
    assert waits[:10] == sorted(waits[:10]) and 1 <= waits[0] < 2 and 600 <= waits[-1] <= 720
    assert circuit.note("email", Worked(sent=1), 5.0) == Circuit()
    assert circuit.note("email", Worked(), 5.0) == circuit, "nothing was learnt"


def test_a_fallback_chain_ends_where_somebody_takes_it(workspace: Workspace, ledger: Ledger) -> None:
    ledger.remember_consents([(name, way, True, 1) for name in "abc" for way in ("push", "sms", "email")])
    chain: dict[str, Any] = {
        "plan": "journey:x",
        "channel": "push",
        "fallback": ("sms", "email"),
        "unit_cost_cents": 7,
    }
    ledger.enqueue([intend("a", **chain), intend("b", **(chain | {"reachable": False}))])
    ledger.enqueue([intend("c", plan="journey:x", channel="push")])
    refusing = Recorder(Receipt(Outcome.PERMANENT, "rejected"))
    ways = {"push": refusing, "sms": refusing, "email": Recorder()}
    dispatcher = Dispatcher(workspace, ways, {"journey:": Composer()}, clock=lambda: NOON)
    for _ in range(4):
        dispatcher.dispatch()
    assert count(ledger, "journey:x") == {"sent": 2, "failed": 1}, "the sum of states is the audience still"
    rows = {row["customer_id"]: row for row in ledger.read_rows()}
    assert rows["a"]["channel"] == rows["b"]["channel"] == "email"
    assert rows["a"]["unit_cost_cents"] == 1 and rows["a"]["fallback"] is None, (
        "a mail costs what a mail costs"
    )
    assert rows["c"]["reason"] == "rejected"


NOON = datetime(2026, 3, 2, 4, tzinfo=UTC).timestamp()


def test_what_nobody_can_carry_is_skipped_or_moves_on(workspace: Workspace, ledger: Ledger) -> None:
    ledger.remember_consents([("b", "email", True, 1)])
    ledger.enqueue([intend("a", plan="journey:x", channel="fax")])
    ledger.enqueue([intend("b", plan="journey:x", channel="fax", fallback=("email",))])
    ways = {"email": Recorder()}
    dispatcher = Dispatcher(workspace, ways, {"journey:": Composer()})
    dispatcher.dispatch()
    dispatcher.dispatch()
    assert count_reasons(ledger, "journey:x") == {"no_channel": 1, None: 1}


def test_the_kill_switch_holds_everything_at_once(workspace: Workspace, ledger: Ledger) -> None:
    fill(ledger, ["a", "b"], plan="journey:x")
    taken = ledger.reserve(None, "email", limit=1)
    with workspace.store.begin() as connection:
        assert halt(connection, "ann") and not halt(connection, "ben")
    assert find_due(workspace) is None
    assert dispatch(workspace, {"email": Recorder()}, {"journey:": Composer()}) == 0
    assert ledger.reserve(None, "email", limit=9).held == "halted"
    ids = [row.delivery_id for row in taken.rows]
    assert ledger.advance(taken.fence, intended=ids) == set(), (
        "what was reserved before does not go out either"
    )
    ledger.release(taken.fence, ids)
    with workspace.store.begin() as connection:
        assert go_on(connection) and not go_on(connection)
    assert dispatch(workspace, {"email": Recorder()}, {"journey:": Composer()}) == 2


def test_stopping_takes_what_is_only_reserved(workspace: Workspace, ledger: Ledger) -> None:
    fill(ledger, ["a", "b"], plan="journey:x")
    taken = ledger.reserve(None, "email", limit=1)
    assert ledger.stop("journey:x") == 2
    assert ledger.advance(taken.fence, intended=[row.delivery_id for row in taken.rows]) == set()
    assert count_reasons(ledger, "journey:x") == {"stopped": 2}


def test_the_next_due_is_known_without_looking_at_every_row(workspace: Workspace, ledger: Ledger) -> None:
    assert find_due(workspace) is None
    later = int(time.time() * 1000) + 90_000
    fill(ledger, ["a"], plan="journey:x", not_before_ms=later)
    due = find_due(workspace)
    assert due is not None and int(due.timestamp() * 1000) == later
    dispatcher = Dispatcher(workspace, {"email": Recorder()}, {})
    assert dispatcher.find_due() is None, "a journey nobody can write wakes nobody"
    fill(ledger, ["b"], plan="p1")
    due = dispatcher.find_due()
    assert due is not None and due <= datetime.now(UTC)
    taken = ledger.reserve("p1", "email", limit=1)
    due = dispatcher.find_due()
    assert taken.rows and due is not None and due > datetime.now(UTC), "when the lease runs out"


def test_asking_to_be_left_alone_is_no_attempt(workspace: Workspace) -> None:
    ledger = open_ledger(workspace, terms=Terms(attempts=2))
    fill(ledger, ["a"], plan="journey:x")
    busy = Recorder(Receipt(Outcome.TEMPORARY, "rate_limited", retry_after=120.0))
    dispatch(workspace, {"email": busy}, {"journey:": Composer()})
    row = ledger.read_rows()[0]
    assert (row["state"], row["reason"], row["attempts"]) == ("queued", "rate_limited", 0)
    assert row["not_before_ms"] > time.time() * 1000 + 60_000
    due = find_due(workspace)
    assert due is not None and due > datetime.now(UTC)


def test_a_campaign_that_is_gone_fails_and_says_why(workspace: Workspace, ledger: Ledger) -> None:
    fill(ledger, ["a"], plan="p9")
    assert Campaigns(workspace.store).find("p9") is None
    dispatch(workspace, {"email": Recorder()})
    assert count_reasons(ledger, "p9") == {"content_error": 1}


def test_no_mail_leaves_the_machine_without_an_address_to_unsubscribe_at(
    workspace: Workspace, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIMWELL_PUBLIC_URL", raising=False)
    fill(ledger, ["a"], plan="journey:x")
    fill(ledger, ["b"], plan="journey:x", channel="web")
    ways: dict[str, Channel] = {
        "email": SmtpChannel(Server("mail.example.com", 25, "news@shop.example")),
        "web": Recorder(),
    }
    with pytest.raises(AimwellError) as caught:
        dispatch(workspace, ways, {"journey:": Composer()})
    assert caught.value.code.startswith("deployment.")
    assert count(ledger, "journey:x") == {"queued": 1, "sent": 1}, "the other channel went on"
