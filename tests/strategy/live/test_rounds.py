"""Many threads ask at once: each gets its own answer, few commits are made, and a failed commit tells everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.engine.live_tables import LIVE_LIMITS
from aimwell.engine.store import Store
from aimwell.strategy.live import rounds
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.rounds import Pending, Rounds
from tests.strategy.live.world import ask, check_books, keep, make_limit, make_plan, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def test_threads_share_commits_and_each_gets_its_own_answer(store: Store) -> None:
    plan = keep(store, make_plan(limits=(make_limit("stock", [1, 1, 1], 250),)))
    requests = [ask(f"r{n}", f"c{n}", [float(n % 3), 1.5, 0.5]) for n in range(300)]
    with LiveDecider(store, plan.plan_id) as decider, ThreadPoolExecutor(30) as pool:
        with store.begin():
            # While somebody else writes, all of these wait together.
            first = [decider.submit(*request) for request in requests[:100]]
        later = list(pool.map(lambda request: decider.decide(*request), requests[100:]))
        answers = [one.result() for one in first] + later
        assert decider.commits < 250
    assert [(a.customer_id, a.request_id) for a in answers] == [(f"c{n}", f"r{n}") for n in range(300)]
    log = check_books(store, plan)
    assert sum(row["action_id"] is not None for row in log) == 250


def test_what_is_wrong_with_a_request_is_told_to_who_asked(store: Store) -> None:
    plan = keep(store, make_plan())
    with pytest.raises(RuntimeError):
        LiveDecider(store, plan.plan_id).submit(*ask("r0", "c0"))
    with LiveDecider(store, plan.plan_id) as decider:
        good, bad = decider.submit(*ask("r1", "c1")), decider.submit(*ask("r2", "c2", [np.nan, 1, 1]))
        assert good.result().action_id == "sms"
        with pytest.raises(BadInput):
            bad.result()
    with pytest.raises(RuntimeError):
        decider.submit(*ask("r3", "c3"))


def test_a_failed_commit_is_told_and_leaves_no_trace(store: Store) -> None:
    plan = keep(store, make_plan(limits=(make_limit("stock", [1, 1, 1], 5),)))
    with LiveDecider(store, plan.plan_id) as decider:
        with store.begin() as connection:
            connection.execute(sa.text("ALTER TABLE live_decisions RENAME TO elsewhere"))
        with pytest.raises(sa.exc.OperationalError):
            decider.decide(*ask("r1", "c1"))
        with store.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO live_decisions"))
            assert connection.execute(sa.select(LIVE_LIMITS.c.used)).scalar() == 0
        assert not decider.decide(*ask("r1", "c1")).repeated
    assert len(check_books(store, plan)) == 1


def test_who_asks_for_too_much_at_once_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MOST_TOGETHER", 2)
    monkeypatch.setattr(rounds, "MOST_ROUNDS", 2)
    waiting, joined = Rounds(), list[Pending]()

    def join() -> None:
        joined.extend(waiting.join(ask(f"r{n}", "c")) for n in range(4))
        joined.append(waiting.join(ask("late", "c")))

    asking = threading.Thread(target=join)
    asking.start()
    while len(joined) < 4:
        time.sleep(0.001)
    first = waiting.take()
    asking.join()
    assert first is not None and [context.request_id for _, context in first.requests] == ["r0", "r1"]
    assert (joined[4].round, joined[4].place) != (joined[3].round, joined[3].place)
    with pytest.raises(TimeoutError):
        joined[4].result(timeout=0.001)
    waiting.end()
    left = [waiting.take(), waiting.take(), waiting.take()]
    assert [len(one.requests) if one else 0 for one in left] == [2, 1, 0]
