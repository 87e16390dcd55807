"""A join that is undone: refusals hold for every record, and what stays where it is, is told."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.cli.app import main
from aimwell.core.text import set_language
from aimwell.data.identity.parting import Stays, keep_refusals
from aimwell.data.identity.step import find_identities, join_records, split_records
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.ledger_tables import CONSENT_STATES, SUPPRESSIONS
from aimwell.engine.permissions import ConsentState, Suppression, add_suppression, remember_consents
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from tests.data.identity.test_step import loaded, shop
from tests.deployment.stores import BOTH, find_address
from tests.postgres import postgres

__all__ = ["loaded", "postgres", "shop"]


def build_enrolment(customer: str, number: int, state: str) -> dict[str, object]:
    return {
        "enrolment_id": number, "journey": "welcome", "version": 1, "customer_id": customer, "occasion": str(number),
        "arm": "treatment", "node": "wait", "state": state, "edge": "entry", "probability": 1.0, "due_ms": 1,
        "step": 0, "entered_ms": 1,
    }  # fmt: skip


@pytest.mark.parametrize("kind", BOTH)
def test_who_refused_as_one_has_refused_as_each(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store(find_address(kind, tmp_path, request))
    with store.begin() as connection:
        add_suppression(connection, Suppression("a", "sms", "link", 5))
        remember_consents(
            connection, [ConsentState("a", "email", False, 7), ConsentState("a", "call", True, 7)]
        )
        remember_consents(
            connection, [ConsentState("b", "email", True, 6), ConsentState("c", "email", True, 8)]
        )
        rows = [build_enrolment("a", 1, "waiting"), build_enrolment("a", 2, "ended")]
        connection.execute(sa.insert(JOURNEY_ENROLMENTS), rows)
    message = Intended("p", "a", "x", "email", date(2026, 3, 2), 1, True)
    Ledger(store, rules=ContactRules(cap=1, cap_days=1)).enqueue([message])
    for _ in range(2):
        with store.begin() as connection:
            assert keep_refusals(connection, "a", ["a", "b", "c"]) == Stays("a", 1, 1, 2)
    with store.snapshot() as connection:
        lines = {(row.customer_id, row.channel) for row in connection.execute(sa.select(SUPPRESSIONS))}
        states = {
            (row.customer_id, row.channel): row.allowed
            for row in connection.execute(sa.select(CONSENT_STATES))
        }
    assert lines == {("a", "sms"), ("b", "sms"), ("c", "sms")}
    # A permission is nobody else's, and one that was given under the record since the refusal stands.
    assert states == {
        ("a", "email"): False, ("a", "call"): True, ("b", "email"): False, ("c", "email"): True,
    }  # fmt: skip
    store.close()


def test_what_stays_is_told_where_they_were_one(shop: Workspace) -> None:
    find_identities(shop)
    with shop.store.begin() as connection:
        add_suppression(connection, Suppression("CRM1", "email", "link", 5))
    assert split_records(shop, "CRM1", "WX1")["stays"] == {
        "customer": "CRM1", "journeys": 0, "messages": 0, "refusals": 1,
    }  # fmt: skip
    with shop.store.snapshot() as connection:
        lines = {(row.customer_id, row.channel) for row in connection.execute(sa.select(SUPPRESSIONS))}
    assert lines == {(record, "email") for record in ("CRM1", "WX1", "T1", "T3")}
    assert split_records(shop, "CRM1", "CRM5")["stays"] is None


def test_the_command_says_it_in_words(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    join_records(shop, "CRM1", "WX3")
    words = ["-w", str(shop.path), "--language", "zh", "data", "identity", "split", "CRM1", "WX3"]
    monkeypatch.setattr("sys.argv", ["aimwell", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    set_language("en")
    told = "".join(capsys.readouterr().out.split())
    assert not stopped.value.code and "均留在“CRM1”名下：0个进行中的旅程" in told
