from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.reconciliation import check_sums, list_dead, list_doubt, requeue, settle_doubt
from aimwell.engine.ledger_tables import CAMPAIGNS, DELIVERIES
from aimwell.engine.store import Store
from aimwell.engine.store_tables import AUDIT_LOG
from tests.deployment.scene import count, count_reasons, fill, open_ledger
from tests.deployment.stores import BOTH, find_address
from tests.postgres import postgres  # noqa: F401 (a fixture)

UNKNOWN = Receipt(Outcome.UNKNOWN, "connection_lost")
REFUSED = Receipt(Outcome.PERMANENT, "rejected")


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(find_address(request.param, tmp_path, request))


def end(ledger: Ledger, receipt: Receipt, number: int) -> None:
    """Hand ``number`` deliveries over, all with this receipt."""
    taken = ledger.reserve("p1", "email", limit=number)
    ids = [row.delivery_id for row in taken.rows]
    ledger.advance(taken.fence, intended=ids)
    ledger.advance(taken.fence, settled=[(delivery, receipt) for delivery in ids])


def list_actions(store: Store) -> list[tuple[str, str]]:
    with store.snapshot() as connection:
        rows = connection.execute(sa.select(AUDIT_LOG.c.action, AUDIT_LOG.c.actor)).all()
    return [(row.action, row.actor) for row in rows]


def test_doubt_is_settled_by_hand_once(store: Store) -> None:
    ledger = open_ledger(store, terms=Terms())
    fill(ledger, ["a", "b", "c"])
    end(ledger, UNKNOWN, 3)
    first, second, third = (row.delivery_id for row in list_doubt(store))
    assert settle_doubt(store, [first], "sent", by="ann") == 1
    assert settle_doubt(store, [second], "not_sent", by="ann") == 1
    assert settle_doubt(store, [third], "repeat", by="ben") == 1
    assert count(ledger) == {"sent": 1, "failed": 1, "queued": 1}
    assert count_reasons(ledger)["not_arrived"] == 1
    with pytest.raises(Conflict):
        settle_doubt(store, [first, second], "sent", by="ann")
    assert count(ledger) == {"sent": 1, "failed": 1, "queued": 1}, "all or nothing"
    assert list_doubt(store) == []
    assert list_actions(store) == [
        ("delivery.settled.sent", "ann"),
        ("delivery.settled.not_sent", "ann"),
        ("delivery.settled.repeat", "ben"),
    ]
    store.close()


def test_dead_letters_are_listed_and_tried_again(store: Store) -> None:
    ledger = open_ledger(store, terms=Terms())
    fill(ledger, ["a", "b"])
    end(ledger, REFUSED, 2)
    dead = list_dead(store, "p1")
    assert [row.reason for row in dead] == ["rejected"] * 2 and list_dead(store, "p2") == []
    assert requeue(store, [dead[0].delivery_id], by="ann") == 1
    assert count(ledger) == {"queued": 1, "failed": 1}
    end(ledger, Receipt(Outcome.SENT), 1)
    assert count(ledger) == {"sent": 1, "failed": 1}
    with pytest.raises(Conflict):
        requeue(store, [dead[0].delivery_id], by="ann")
    store.close()


def test_every_sum_is_checked(store: Store) -> None:
    ledger = open_ledger(store)
    fill(ledger, ["a", "b"])
    with store.begin() as connection:
        row = {"plan_id": "p1", "goal": "g", "round_number": 1, "wave": "pilot", "state": "pilot",
               "control": "running", "changed_at_ms": 1, "audience": 2}  # fmt: skip
        connection.execute(sa.insert(CAMPAIGNS).values(row))
    assert all(one.holds for one in check_sums(store))
    with store.begin() as connection:
        connection.execute(sa.delete(DELIVERIES).where(DELIVERIES.c.customer_id == "b"))
    (broken,) = check_sums(store)
    assert not broken.holds and (broken.audience, broken.states) == (2, {"queued": 1})
    store.close()
