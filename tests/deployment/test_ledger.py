from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.ledger import Terms
from aimwell.deployment.ledger_rows import identify_delivery
from aimwell.engine.store import Store
from tests.deployment.scene import count, count_reasons, fill, intend, open_ledger, open_store
from tests.deployment.stores import BOTH, find_address
from tests.postgres import postgres  # noqa: F401 (a fixture)

SENT = Receipt(Outcome.SENT)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_enqueuing_twice_makes_one_row(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    assert ledger.enqueue([intend("a"), intend("b")]) == 2
    assert ledger.enqueue([intend("a"), intend("b"), intend("c")]) == 1
    assert count(ledger) == {"queued": 3}


def test_the_id_depends_on_every_part() -> None:
    ids = {
        identify_delivery(*parts)
        for parts in [("p", "c", "a"), ("pc", "", "a"), ("p", "ca", ""), ("", "pc", "a")]
    }
    assert len(ids) == 4


def test_a_delivery_goes_from_queue_to_sent(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, ["a", "b"])
    taken = ledger.reserve("p1", "email", limit=10)
    ids = [row.delivery_id for row in taken.rows]
    assert count(ledger) == {"leased": 2}
    assert ledger.advance(taken.fence, intended=ids[:1], waiting=ids[1:]) == {ids[0]}
    assert count(ledger) == {"leased": 1, "intent": 1}
    ledger.advance(taken.fence, settled=[(ids[0], SENT)], intended=ids[1:])
    assert count(ledger) == {"sent": 1, "intent": 1}


def test_whoever_lost_the_lease_may_not_hand_over(tmp_path: Path) -> None:
    store, clock = open_store(tmp_path), Clock()
    first, second = open_ledger(store, clock=clock), open_ledger(store, clock=clock)
    fill(first, ["a"])
    old = first.reserve("p1", "email", limit=10)
    ids = [row.delivery_id for row in old.rows]
    clock.now += 1.0
    assert first.advance(old.fence, intended=ids) == set(), "the lease ran out"
    second.recover("p1", "email", promise=Promise.BLIND)
    new = second.reserve("p1", "email", limit=10)
    assert new.fence > old.fence
    assert first.advance(old.fence, intended=ids) == set(), "somebody else holds it"
    assert second.advance(new.fence, intended=ids) == set(ids)
    first.advance(old.fence, settled=[(ids[0], Receipt(Outcome.PERMANENT, "rejected"))])
    assert count(first) == {"intent": 1}, "an old fence settles nothing"


def test_waiting_rows_keep_their_lease(tmp_path: Path) -> None:
    store, clock = open_store(tmp_path), Clock()
    ledger = open_ledger(store, clock=clock)
    fill(ledger, ["a", "b"])
    taken = ledger.reserve("p1", "email", limit=10)
    ids = [row.delivery_id for row in taken.rows]
    for _ in range(5):
        clock.now += 0.4
        ledger.advance(taken.fence, waiting=ids)
    assert ledger.advance(taken.fence, intended=ids) == set(ids)


def test_recovery_touches_only_expired_leases(tmp_path: Path) -> None:
    clock = Clock()
    ledger = open_ledger(open_store(tmp_path), clock=clock)
    fill(ledger, ["a", "b"])
    taken = ledger.reserve("p1", "email", limit=10)
    ids = [row.delivery_id for row in taken.rows]
    ledger.advance(taken.fence, intended=ids[:1])
    ledger.recover("p1", "email", promise=Promise.BLIND)
    assert count(ledger) == {"leased": 1, "intent": 1}
    clock.now += 1.0
    ledger.recover("p1", "email", promise=Promise.BLIND)
    assert count(ledger) == {"queued": 1, "in_doubt": 1}
    assert count_reasons(ledger)["worker_lost"] == 1


@pytest.mark.parametrize(
    ("promise", "state"), [(Promise.REJECTS_REPEATS, "queued"), (Promise.CAN_BE_ASKED, "intent")]
)
def test_what_an_open_intent_becomes_depends_on_the_promise(
    tmp_path: Path, promise: Promise, state: str
) -> None:
    clock, store = Clock(), open_store(tmp_path)
    ledger = open_ledger(store, clock=clock)
    fill(ledger, ["a"])
    taken = ledger.reserve("p1", "email", limit=10)
    ledger.advance(taken.fence, intended=[taken.rows[0].delivery_id])
    clock.now += 1.0
    other = open_ledger(store, clock=clock)
    assert other.recover("p1", "email", promise=promise).rows == ()
    assert count(ledger) == {state: 1}
    clock.now += 1.0
    again = other.recover("p1", "email", promise=promise)
    assert len(again.rows) == (1 if promise is Promise.CAN_BE_ASKED else 0)


def test_a_late_answer_of_the_true_owner_settles_doubt(tmp_path: Path) -> None:
    clock = Clock()
    ledger = open_ledger(open_store(tmp_path), clock=clock)
    fill(ledger, ["a"])
    taken = ledger.reserve("p1", "email", limit=10)
    delivery = taken.rows[0].delivery_id
    ledger.advance(taken.fence, intended=[delivery])
    clock.now += 1.0
    ledger.recover("p1", "email", promise=Promise.BLIND)
    ledger.advance(taken.fence, settled=[(delivery, SENT)])
    assert count(ledger) == {"sent": 1}


def test_temporary_failures_wait_longer_each_time_then_give_up(tmp_path: Path) -> None:
    clock = Clock()
    ledger = open_ledger(
        open_store(tmp_path), clock=clock, terms=Terms(lease=5, retry=10, attempts=3, jitter=0)
    )
    fill(ledger, ["a"])
    waits = []
    for _ in range(3):
        while not (taken := ledger.reserve("p1", "email", limit=10)).rows:
            clock.now += 1.0
            waits.append(clock.now)
        delivery = taken.rows[0].delivery_id
        ledger.advance(taken.fence, intended=[delivery])
        ledger.advance(taken.fence, settled=[(delivery, Receipt(Outcome.TEMPORARY, "temporary_rejection"))])
    assert len(waits) == 10 + 20
    assert count_reasons(ledger) == {"gave_up": 1}
    assert count(ledger) == {"failed": 1}


def test_stopping_skips_what_waits(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, ["a", "b"])
    assert ledger.stop("p1") == 2
    assert count_reasons(ledger) == {"stopped": 2}


def test_two_workers_never_hold_the_same_row(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(open_ledger(store), [f"c{number}" for number in range(300)])
    held: list[str] = []

    def take() -> None:
        ledger = open_ledger(store, terms=Terms())
        while (taken := ledger.reserve("p1", "email", limit=7)).rows:
            ids = [row.delivery_id for row in taken.rows]
            held.extend(ledger.advance(taken.fence, intended=ids))
            ledger.advance(taken.fence, settled=[(delivery, SENT) for delivery in ids])

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == len(set(held)) == 300


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_the_audience_is_always_the_sum_of_states(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance, clock = random.Random(seed), Clock()
    store = open_store(tmp_path_factory.mktemp("store"))
    ledger = open_ledger(store, clock=clock, cap=1)
    fill(ledger, [f"c{number}" for number in range(12)])
    receipts = [SENT, *(Receipt(outcome, "rejected") for outcome in Outcome if outcome is not Outcome.SENT)]
    for _ in range(15):
        promise = chance.choice(list(Promise))
        taken = ledger.reserve("p1", "email", limit=chance.randint(1, 5))
        ids = [row.delivery_id for row in taken.rows]
        tried = [delivery for delivery in ids if chance.random() < 0.7]
        ledger.advance(taken.fence, intended=tried, promise=promise)
        answered = [(delivery, chance.choice(receipts)) for delivery in tried if chance.random() < 0.7]
        ledger.advance(taken.fence, settled=answered, promise=promise)
        clock.now += chance.random()
        ledger.recover("p1", "email", promise=promise)
        assert sum(count(ledger).values()) == 12
    store.close()


ANSWERS = [
    "taken",
    None,
    'a "quoted" \\ one',
    "250 2.0.0 好的",
    "nul \0 inside",
    "half \ud83d of a pair",
    "$.x'--",
    "",
]


@pytest.mark.parametrize("kind", BOTH)
def test_whatever_a_provider_answers_is_kept_with_its_own_row(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store(find_address(kind, tmp_path, request))
    ledger, other = open_ledger(store), open_ledger(store)
    fill(ledger, [f"c{number}" for number in range(len(ANSWERS) + 2)])
    taken = ledger.reserve("p1", "email", limit=len(ANSWERS) + 1)
    *ids, held = [row.delivery_id for row in taken.rows]
    assert ledger.advance(taken.fence, intended=[*ids, held, "unknown"]) == {*ids, held}
    # Who does not hold a row changes nothing of it, and what is not due to be intended is not.
    later = other.reserve("p1", "email", limit=99)
    assert other.advance(later.fence, intended=[held]) == set()
    other.advance(later.fence, settled=[(held, Receipt(Outcome.SENT, provider_id="not mine"))])
    told = [(one, Receipt(Outcome.SENT, provider_id=said)) for one, said in zip(ids, ANSWERS, strict=True)]
    ledger.advance(taken.fence, settled=told)
    assert count(ledger) == {"sent": len(ANSWERS), "intent": 1, "leased": 1}
    rows = {row["delivery_id"]: row for row in ledger.read_rows("p1")}
    kept = ["nul  inside", "half ? of a pair"]
    assert [rows[one]["provider_id"] for one in ids] == [*ANSWERS[:4], *kept, *ANSWERS[6:]]
    assert rows[held]["provider_id"] is None and all(rows[one]["attempts"] == 1 for one in [*ids, held])
    store.close()
