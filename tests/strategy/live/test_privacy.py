"""A person's live decisions are in the export, and gone after an erasure: rows, profiles and digests."""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from aimwell.core.columns import CHANNELS
from aimwell.data.erasure import erase_person
from aimwell.data.export import export_person
from aimwell.engine.live_contacts import list_digests
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_PROFILES, LIVE_TURNS
from aimwell.engine.seen_ids import pack_digests
from aimwell.engine.workspace import Workspace
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.exposures import publish_exposures
from aimwell.strategy.live.opening import open_day
from aimwell.strategy.live.requests import Decision, Visit
from aimwell.strategy.live.settle import Outcome
from tests.strategy.live.shop import DAY, NOW_MS, make_shop, read


def decide_some(shop: Workspace) -> tuple[LiveDecider, str, str]:
    """A day on which many came; the customer whose action was shown, and another."""
    opened = open_day(shop, day=DAY, share=1.0)
    decider = LiveDecider(shop.store, opened.plan.plan_id, clock=lambda: NOW_MS / 1000)
    people = [f"c{number}" for number in range(3, 40)]
    visits = [(customer, Visit(f"visit of {customer}", {}, NOW_MS)) for customer in people]
    answers = [answer for answer in decider.meet(visits) if isinstance(answer, Decision)]
    acted = [answer for answer in answers if answer.action_id is not None]
    decider.settle([Outcome(acted[0].request_id, True), Outcome(acted[1].request_id, False)])
    publish_exposures(shop, opened.plan)
    return decider, acted[0].customer_id, acted[1].customer_id


def count_traces(shop: Workspace, customer: str) -> list[int]:
    digests = [pack_digests(digest) for digest in list_digests(customer, CHANNELS)]
    with shop.store.begin() as connection:
        rows = [
            connection.execute(
                sa.select(sa.func.count()).select_from(table).where(table.c.customer_id == customer)
            ).scalar_one()
            for table in (LIVE_DECISIONS, LIVE_PROFILES)
        ]
        turns = connection.execute(sa.select(LIVE_TURNS.c.contacts, LIVE_TURNS.c.released)).all()
    marked = sum(digest in (row.contacts + row.released) for row in turns for digest in digests[1:])
    own = sum(digests[0] in (row.contacts + row.released) for row in turns)
    assert marked in (0, own), "a contact stands under its channel, or has none"
    exposures = read(shop, f"SELECT COUNT(*) AS n FROM exposures WHERE customer_id = '{customer}'")[0]["n"]
    return [*rows, own, exposures]


def test_an_export_holds_the_persons_live_decisions(tmp_path: Path) -> None:
    with make_shop(tmp_path) as shop:
        _, shown, _ = decide_some(shop)
        export_person(shop, shown, tmp_path / "export.json")
        told = json.loads((tmp_path / "export.json").read_text("utf-8"))
        assert [row["request_id"] for row in told["store_live_decisions"]] == [f"visit of {shown}"]
        assert told["store_live_profiles"][0]["pairs"] and told["exposures"][0]["state"] == "confirmed"


def test_an_erasure_leaves_no_live_trace_and_keeps_the_sums(tmp_path: Path) -> None:
    with make_shop(tmp_path) as shop:
        decider, shown, cancelled = decide_some(shop)
        used = decider.read_used().tolist()
        before = read(shop, "SELECT COUNT(*) AS n, SUM(probability) AS p FROM exposures")
        assert count_traces(shop, shown) == [1, 1, 1, 1]
        assert count_traces(shop, cancelled) == [1, 1, 2, 1]
        for person in (shown, cancelled):
            erase_person(shop, person, dry_run=False)
            assert count_traces(shop, person) == [0, 0, 0, 0]
        # What was used stays used, and whoever learns from the day still has all of its decisions.
        assert LiveDecider(shop.store, decider.plan.plan_id).read_used().tolist() == used
        assert read(shop, "SELECT COUNT(*) AS n, SUM(probability) AS p FROM exposures") == before
        publish_exposures(shop, decider.plan)
        assert read(shop, "SELECT COUNT(*) AS n, SUM(probability) AS p FROM exposures") == before
        assert not read(shop, f"SELECT * FROM exposures WHERE request_id LIKE '%{shown}'")
        # Asked again under the old id, nobody is decided anew.
        raised = decider.settle([Outcome(f"visit of {shown}", True)])[0]
        assert getattr(raised, "code", "") == "strategy.decision_erased"


def test_without_amounts_nothing_of_the_person_is_kept(tmp_path: Path) -> None:
    with make_shop(tmp_path) as shop:
        decider, shown, _ = decide_some(shop)
        before = read(shop, "SELECT COUNT(*) AS n FROM exposures")[0]["n"]
        erase_person(shop, shown, keep_amounts=False, dry_run=False)
        publish_exposures(shop, decider.plan)
        assert read(shop, "SELECT COUNT(*) AS n FROM exposures")[0]["n"] == before - 1
