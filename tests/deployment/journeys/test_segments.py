"""Segments let people in and out; a workspace's journeys read tags, attributes, loaded files and joined records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from aimwell.deployment.journeys.graph import ExitRule, Reentry, SegmentEntry, Span, Wait
from aimwell.engine.hot_tables import LIVE_CHANGES
from tests.deployment.journeys.world import DAY, HOUR, START, World, welcome

NODES = (("rest", Wait(Span(days=2))),)


def change(
    world: World, customer: str, *, inside: bool, at_ms: int, segment: str = "champions", by: str = "segments"
) -> None:
    """As the follower of segments writes it."""
    values = {"consumer": by, "rule": segment, "customer_id": customer, "inside": inside}
    with world.store.begin() as connection:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        connection.execute(sa.insert(LIVE_CHANGES).values(at=at, **values))


def test_whoever_enters_the_segment_enters_and_whoever_leaves_it_goes(world: World) -> None:
    change(world, "before", inside=True, at_ms=START - HOUR)
    exits = (ExitRule(left_segment="champions"),)
    world.start(welcome(entries=(SegmentEntry("rest", "champions"),), nodes=NODES, exits=exits))
    change(world, "ann", inside=True, at_ms=START + 1)
    change(world, "bob", inside=True, at_ms=START + 1)
    change(world, "cid", inside=True, at_ms=START + 1, segment="others")
    change(world, "dan", inside=True, at_ms=START + 1, by="live")
    assert world.advancer.find_due() == datetime.fromtimestamp(0, UTC)
    world.step(START + HOUR)
    assert world.places() == {"ann": ("waiting", "rest"), "bob": ("waiting", "rest")}
    change(world, "ann", inside=False, at_ms=START + 2 * HOUR)
    world.step(START + 2 * HOUR)
    assert world.places()["ann"] == ("exit", "rest") and world.places()["bob"] == ("waiting", "rest")
    due = world.advancer.find_due()
    assert due is not None and due - datetime.fromtimestamp((START + HOUR) / 1000, UTC) == timedelta(days=2)


def test_whoever_leaves_a_segment_may_enter(world: World) -> None:
    entry = SegmentEntry("rest", "active", "leaves")
    world.start(welcome(entries=(entry,), nodes=NODES, reentry=Reentry("after", days=10)))
    for hour, inside in enumerate((True, False, True, False)):
        change(world, "ann", inside=inside, at_ms=START + hour * HOUR, segment="active")
    world.step(START + DAY)
    world.step(START + DAY)
    assert len(world.rows()) == 1
