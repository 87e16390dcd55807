"""Two workers of journeys are killed again and again: everybody is at one place, each message is there once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.deployment.journeys.graph import (
    Action,
    EventEntry,
    EventIs,
    Journey,
    Reentry,
    Span,
    Split,
    Wait,
    WaitEvent,
    Way,
)
from aimwell.engine.journey_tables import JOURNEY_VISITS
from aimwell.engine.store import Store
from tests.deployment.journeys.test_properties import check_sums
from tests.deployment.journeys.world import MINUTE, START, World
from tests.faults.journey_worker import LAST, advance
from tests.faults.victims import count_kills, kill, sleep_at_random, start, wait_until
from tests.postgres import Server, postgres

__all__ = ["postgres"]
KILLS = count_kills(20)
PEOPLE = 150
LONG = Journey(
    name="long",
    title="Long",
    entries=(EventEntry("first", EventIs("Signed Up")),),
    nodes=(
        ("first", Action("email", next="short")),
        ("short", Wait(Span(minutes=3), "toss")),
        ("toss", Split((Way("mail", 0.5), Way("text", 0.5)))),
        ("mail", Action("email", next="asks")),
        ("text", Action("sms", next="asks")),
        ("asks", WaitEvent(EventIs("Answered"), Span(minutes=10), "thanks", "again")),
        ("thanks", Action("email", next="again")),
        ("again", Wait(Span(minutes=5), "last")),
        ("last", Action("sms", next="rest")),
        ("rest", Wait(Span(minutes=2))),
    ),
    holdout=0.2,
    reentry=Reentry("always", at_once=2),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty store is."""
    if request.param == "sqlite":
        Store.open_file(tmp_path / "store.sqlite").close()
        yield f"sqlite:///{tmp_path / 'store.sqlite'}"
        return
    server: Server = request.getfixturevalue("postgres")
    server.run("CREATE DATABASE killed")
    store = Store(server.address("killed"))
    store.migrate()
    store.close()
    yield server.address("killed")


def count_visits(world: World) -> int:
    """How far all have come together."""
    with world.store.snapshot() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(JOURNEY_VISITS)).scalar_one())


def has_more(world: World, before: int) -> Callable[[], bool]:
    return lambda: count_visits(world) > before


def test_killed_workers_lose_and_double_nothing(url: str) -> None:
    world = World(Store(url))
    world.start(LONG)
    chance = random.Random(url.partition(":")[0])
    workers = [start(advance, url), start(advance, url)]
    for number in range(KILLS):
        # Work for those who are alive; the killed one's place is taken at once.
        some = range(number * PEOPLE, (number + 1) * PEOPLE)
        world.post(*[(f"c{n}", "Signed Up") for n in some], at_ms=START)
        # Those of the round before wait for it, or not yet, or no longer.
        world.post(*[(f"c{n - PEOPLE}", "Answered") for n in some if n % 3 == 0], at_ms=START + 5 * MINUTE)
        wait_until(has_more(world, count_visits(world)), "no worker made progress")
        sleep_at_random(chance, 0.15)
        kill(workers[number % 2])
        workers[number % 2] = start(advance, url)
    for worker in workers:
        kill(worker)
    world.advancer = world.open()
    for now_ms in range(START, LAST + 60 * MINUTE, MINUTE):
        world.advancer.step(now_ms)
    rows, visits, deliveries = world.rows(), world.visits(), world.deliveries()
    check_sums(rows, visits, deliveries)
    assert len(rows) == KILLS * PEOPLE and {row["outcome"] for row in rows} == {"end"}
    counted = Counter(visit["node"] for visit in visits)
    assert counted["first"] == counted["last"] == counted["rest"] == len(rows)
    assert counted["mail"] + counted["text"] == len(rows)
    held = sum(row["arm"] == "holdout" for row in rows)
    assert len(deliveries) == sum(visit["result"] == "queued" for visit in visits) >= 3 * (len(rows) - held)
    world.store.close()
