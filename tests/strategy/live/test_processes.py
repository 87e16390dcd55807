"""Several processes decide at once, and one is killed: no limit is broken, no decision doubled, no answer lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.plan import LivePlan
from aimwell.strategy.live.requests import Decision, Request
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.strategy.live.world import (
    DAY_MS,
    ask,
    check_books,
    keep,
    make_limit,
    make_plan,
    read_counters,
    work,
    work_until_killed,
)

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 3


def make_scarce() -> LivePlan:
    """A day whose budget, stock and cap are all used up by 900 customers."""
    limits = (
        make_limit("budget", [1, 1, 1], 1_201, of_cost=True, price=0.05, gain=0.05),
        make_limit("stock", [1, 0, 0], 41),
    )
    return make_plan("scarce", limits=limits, cap=1, cap_days=2)


def list_shares() -> list[list[Request]]:
    """The requests of each process: most are its own, some come to all of them, and customers come more than once."""
    random = np.random.default_rng(4)
    shares = []
    for process in range(PROCESSES):
        own = [
            ask(
                f"r{n}" if n % 10 == 0 else f"r{n}:{process}",
                f"c{n // 2}",
                random.integers(1, 6, 3).astype(float).tolist() if n % 10 else None,
                random.integers(1, 20, 3).tolist() if n % 10 else None,
                at_ms=int(n * DAY_MS / 301),
            )
            for n in range(300)
        ]
        shares.append(own)
    return shares


def decide_at_once(url: str, plan: LivePlan) -> list[Decision]:
    """What all processes were told."""
    with ProcessPoolExecutor(PROCESSES, mp_context=SPAWN) as pool:
        jobs = [
            pool.submit(work, url, plan.plan_id, share, together)
            for share, together in zip(list_shares(), (7, 13, 50), strict=True)
        ]
        return [Decision(*answer) for job in jobs for answer in job.result()]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store.open_file(tmp_path / "store.sqlite")
    else:
        server: Server = request.getfixturevalue("postgres")
        server.run("CREATE DATABASE live")
        opened = Store(server.address("live"))
        opened.migrate()
    yield opened
    opened.close()


def test_processes_never_break_a_limit_together(store: Store) -> None:
    plan = keep(store, make_scarce())
    answers = decide_at_once(store.url, plan)
    log = check_books(store, plan)
    assert read_counters(store, plan.plan_id)["stock"] == (41, 41)
    assert read_counters(store, plan.plan_id)["budget"][0] > 1_150
    assert len(log) == 30 + PROCESSES * 270
    assert len(answers) == PROCESSES * 300
    logged = {row["request_id"]: row["action_id"] for row in log}
    assert all(logged[answer.request_id] == answer.action_id for answer in answers)
    contacted = [row["customer_id"] for row in log if row["action_id"] is not None]
    assert len(set(contacted)) == len(contacted)


@pytest.mark.parametrize("after", [20])
def test_a_killed_process_loses_only_what_was_not_answered(tmp_path: Path, after: int) -> None:
    store = Store.open_file(tmp_path / "store.sqlite")
    plan, told = keep(store, make_scarce()), tmp_path / "told"
    requests = list_shares()[0]
    process = SPAWN.Process(target=work_until_killed, args=(store.url, plan.plan_id, requests, str(told)))
    process.start()
    while process.is_alive() and (not told.exists() or told.read_text("utf-8").count("\n") < after):
        time.sleep(0.001)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    lines = told.read_text("utf-8").split("\n")[:-1]
    log = check_books(store, plan)
    logged = {row["request_id"]: str(row["action_id"]) for row in log}
    assert after <= len(lines) <= len(log) < len(requests)
    assert all(logged[name] == action for name, action in map(str.split, lines))
    # The next one is told what was decided, and goes on from what is used.
    answers = LiveDecider(store, plan.plan_id).decide_together(requests)
    decisions = [answer for answer in answers if isinstance(answer, Decision)]
    assert [answer.repeated for answer in decisions] == [n < len(log) for n in range(len(requests))]
    assert len(check_books(store, plan)) == len(requests)
    store.close()
