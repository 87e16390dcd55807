"""A store whose live decisions were made before outcomes were kept still knows its requests and contacts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_TURNS
from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.requests import Decision
from aimwell.strategy.live.settle import Outcome, Settlement
from tests.strategy.live.world import ask, keep, make_limit, make_plan, open_store


def move(store: Store, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("aimwell.engine") / "migrations"))
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        getattr(command, "upgrade" if version == "head" else "downgrade")(config, version)


def test_decisions_from_before_are_brought_over(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        plan = keep(store, make_plan(cap=1, cap_days=2, limits=(make_limit("stock", [1, 1, 1], 9),)))
        decider = LiveDecider(store, plan.plan_id, clock=lambda: 43_200)
        first = decider.decide_together([ask(f"r{n}", f"c{n}") for n in range(4)])
        decider.decide_together([ask("none", "c9", [-1.0, -1.0, -1.0]), ask("r5", "c5")])
        with store.begin() as connection:
            gone = (LIVE_DECISIONS.c.customer_id == "c2") | (LIVE_DECISIONS.c.request_id == "r5")
            connection.execute(sa.delete(LIVE_DECISIONS).where(gone))
        move(store, "0003")
        move(store, "head")
        with store.begin() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(LIVE_TURNS)).scalar_one() == 2
        again = LiveDecider(store, plan.plan_id, clock=lambda: 43_200)
        answers = again.decide_together(
            [ask("r0", "c0"), ask("r3", "c3"), ask("none", "c9"), ask("new", "c1")]
        )
        told = [answer for answer in answers if isinstance(answer, Decision)]
        assert [answer.repeated for answer in told] == [True, True, True, False]
        assert isinstance(first[0], Decision) and told[0] == first[0]._replace(repeated=True)
        assert told[3].reason == "cap"
        assert again.settle([Outcome("r0", False)]) == [Settlement("r0", "c0", "sms", "cancelled")]
        # Two of the five that took stock were erased: what they used stays used.
        assert again.read_used().tolist() == [4]
        assert len([row for row in check_log(store) if row["state"] == "reserved"]) == 2


def check_log(store: Store) -> list[dict[str, object]]:
    with store.begin() as connection:
        return [dict(row) for row in connection.execute(sa.select(LIVE_DECISIONS)).mappings()]
