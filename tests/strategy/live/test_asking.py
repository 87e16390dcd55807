"""Many people's rows in one value each way: whatever they are called, and however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from aimwell.engine.driver_statements import run_all
from aimwell.engine.ledger_tables import CONSENT_STATES
from aimwell.engine.permissions import Suppression, add_suppression
from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.ledger import ask_moment, read_moment, read_standing
from aimwell.strategy.live.plan import open_plan
from aimwell.strategy.live.profiles import Pair
from aimwell.strategy.live.requests import Decision
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.strategy.live.world import ask, make_plan, read_log

STRANGE = [
    "plain",
    'with "quotes"',
    "it's",
    "back\\slash",
    "准星 100%",
    ":now_ms",
    "%(people)s",
    "a,b],[",
    "\u2028\t\n",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store.open_file(tmp_path / "store.sqlite")
    else:
        server: Server = request.getfixturevalue("postgres")
        server.run("DROP DATABASE IF EXISTS asking", "CREATE DATABASE asking")
        opened = Store(server.address("asking"))
        opened.migrate()
    yield opened
    opened.close()


def test_people_are_found_whatever_they_are_called(store: Store) -> None:
    plan = make_plan(channels=("sms", "email", None))
    rows = [
        {
            "plan_id": plan.plan_id,
            "customer_id": customer,
            "segment": 0,
            "prior_contacts": place,
            "pairs": {"sms": [place + 0.1, 1e-6, 10, 0.0], "banner": [2.0, 0.5, 1, 0.25]},
        }
        for place, customer in enumerate(STRANGE)
    ]
    open_plan(store, plan, [rows])
    consents = [
        {"customer_id": customer, "channel": "sms", "allowed": True, "since_ms": 0, "until_ms": until}
        for customer, until in zip(STRANGE, [None, 5, 6] * 3, strict=True)
    ]
    with store.begin() as connection:
        connection.execute(sa.insert(CONSENT_STATES), consents)
        add_suppression(connection, Suppression(STRANGE[3], "all", "test", 0))
    with store.snapshot() as connection:
        people, is_sqlite = [*STRANGE, "unknown"], store.is_sqlite
        question = ask_moment(plan, people, 5, is_sqlite=is_sqlite, profiles=True)
        found = read_moment(plan, run_all(connection, [question])[0]).profiles
    assert list(sorted(found)) == sorted(STRANGE)
    for place, customer in enumerate(STRANGE):
        assert found[customer].prior_contacts == place
        assert found[customer].pairs["sms"] == Pair(place + 0.1, 1e-6, 10, 0.0)
    with store.snapshot() as connection:
        standing = read_standing(connection, plan, [*STRANGE, "unknown"], 5)
    # A consent until 5 has ended at 5; nobody allowed e-mail; a banner needs no consent.
    allowed = [not forbidden for forbidden in standing.forbidden[:, 0]]
    assert allowed == [True, False, True, False, False, True, True, False, True, False]
    assert standing.forbidden[:, 1].all()
    assert np.flatnonzero(standing.forbidden[:, 2]).tolist() == [3]
    assert standing.contacts.tolist() == [0] * 10


def test_a_turn_of_any_size_is_logged_as_it_was_answered(store: Store) -> None:
    open_plan(store, make_plan())
    decider = LiveDecider(store, "monday")
    told: list[Decision] = []
    for size in (1, 7, 8, 64, 137):
        requests = [ask(f"r{len(told) + n}", f"c{n}", [0.1 * n + 1 / 3, 2.0, 1.0]) for n in range(size)]
        answers = decider.decide_together(requests)
        told += [answer for answer in answers if isinstance(answer, Decision)]
    assert len(told) == 217
    log = read_log(store)
    names = (
        "request_id",
        "customer_id",
        "action_id",
        "probability",
        "reason",
        "expected_profit",
        "cost_cents",
    )
    assert [[row[name] for name in names] for row in log] == [
        [getattr(answer, name) for name in names] for answer in told
    ]
