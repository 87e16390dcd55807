"""Opens and clicks are kept once, judged anew, told to the warehouse and forgotten, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.deployment.tracking.events import build_hit_event
from aimwell.deployment.tracking.hits import (
    Delivered,
    Engagement,
    Hit,
    KeptHit,
    digest_visitor,
    find_delivery,
    find_target,
    forget_hits,
    has_untold,
    mark_told,
    measure_engagement,
    read_hits,
    read_untold,
    remember_links,
)
from aimwell.deployment.tracking.judging import Kind
from aimwell.deployment.tracking.recording import MOST_HITS, Arrival, HitWriter, record_hit, record_hits
from aimwell.deployment.tracking.tokens import Click, identify_link
from aimwell.engine.store import Store
from aimwell.engine.tracking_tables import TRACKING_HITS, VISITOR_SALTS
from tests.deployment.stores import BOTH, find_address
from tests.deployment.tracking.scene import AT, HOUR, ask, identify, send
from tests.postgres import postgres  # noqa: F401 (a fixture)

LINK = identify_link("https://x.example/")


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = Store(find_address(request.param, tmp_path, request))
    yield opened
    opened.close()


def find(store: Store, delivery_id: str) -> Delivered:
    with store.begin() as connection:
        found = find_delivery(connection, Click(delivery_id[:24]))
    assert found is not None and found.delivery_id == delivery_id
    return found


def keep(
    store: Store, delivery: Delivered, kind: Kind = "click", place: int = 0, **hit: object
) -> KeptHit | None:
    link = LINK if kind == "click" else ""
    with store.begin() as connection:
        return record_hit(
            connection,
            delivery,
            kind,
            Click(delivery.delivery_id[:24], link, place),
            ask(**hit),  # type: ignore[arg-type]
        )


def read_all(store: Store) -> list[KeptHit]:
    with store.begin() as connection:
        return read_hits(connection)


def test_links_are_remembered_once(store: Store) -> None:
    targets = {identify_link(url): url for url in ("https://x.example/", "https://y.example/?a=1")}
    for _ in range(2):
        with store.begin() as connection:
            remember_links(connection, targets, AT)
    with store.begin() as connection:
        assert find_target(connection, LINK) == "https://x.example/"
        assert find_target(connection, "0" * 18) is None
    with store.begin() as connection, pytest.raises(Conflict) as caught:
        remember_links(connection, {LINK: "https://other.example/"}, AT)
    assert caught.value.code == "deployment.link_taken"


def test_two_writers_remember_the_same_links(store: Store) -> None:
    targets = {identify_link(url): url for url in (f"https://x.example/{n}" for n in range(40))}
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for name, target in targets.items():
                with store.begin() as connection:
                    remember_links(connection, {name: target}, AT)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.begin() as connection:
        assert all(find_target(connection, name) == target for name, target in targets.items())


def test_a_delivery_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    delivery = send(store)
    assert find(store, delivery).customer_id == "c1"
    with store.begin() as connection:
        assert find_delivery(connection, Click(identify("nobody")[:24])) is None
        assert find_delivery(connection, Click("")) is not None  # the only one there is
    send(store, "c2")
    with store.begin() as connection:
        assert find_delivery(connection, Click("")) is None


def test_the_same_request_is_kept_once(store: Store) -> None:
    delivery = find(store, send(store))
    first = keep(store, delivery, at_ms=AT)
    assert first is not None and not first.machine and first.reason is None
    assert keep(store, delivery, at_ms=AT) is None
    assert keep(store, delivery, at_ms=AT + 60_000) is not None
    assert [hit.at_ms for hit in read_all(store)] == [AT, AT + 60_000]


def test_no_address_is_kept_and_the_salt_goes(store: Store) -> None:
    delivery = find(store, send(store))
    kept = keep(store, delivery, address="198.51.100.23", agent="Mozilla/5.0 (X11; Linux) Secret/1")
    assert kept is not None
    with store.begin() as connection:
        rows = [str(dict(row)) for row in connection.execute(sa.select(TRACKING_HITS)).mappings()]
    assert not any("198.51" in row or "Secret/1" in row for row in rows)
    with store.begin() as connection:
        mark_told(connection, [kept], AT)
        same = digest_visitor(
            connection, Hit(AT + 1, address="198.51.100.77", agent="Mozilla/5.0 (X11; Linux) Secret/1")
        )
        other = digest_visitor(
            connection, Hit(AT + 1, address="198.51.101.23", agent="Mozilla/5.0 (X11; Linux) Secret/1")
        )
        next_day = digest_visitor(
            connection,
            Hit(AT + 24 * HOUR, address="198.51.100.23", agent="Mozilla/5.0 (X11; Linux) Secret/1"),
        )
        assert same == kept.visitor and len({same, other, next_day}) == 3
        assert forget_hits(connection, before_ms=AT, now_ms=AT + 72 * HOUR) == 0
        assert connection.execute(sa.select(sa.func.count()).select_from(VISITOR_SALTS)).scalar() == 0
        assert forget_hits(connection, before_ms=AT + 1, now_ms=AT + 72 * HOUR) == 1


def test_hits_that_nobody_was_told_of_are_not_forgotten(store: Store) -> None:
    delivery = find(store, send(store))
    assert keep(store, delivery) is not None
    with store.begin() as connection:
        assert forget_hits(connection, before_ms=AT + HOUR, now_ms=AT + HOUR) == 0
    assert len(read_all(store)) == 1


def test_a_click_right_after_sending_is_a_machines_but_not_of_an_sms(store: Store) -> None:
    mail = find(store, send(store, finished_at_ms=AT - 500))
    sms = find(store, send(store, channel="sms", finished_at_ms=AT - 500))
    unsettled = find(store, send(store, "c2", state="intent", finished_at_ms=None))
    doubtful = find(store, send(store, "c3", state="in_doubt", finished_at_ms=AT + 60_000))
    verdicts = [keep(store, delivery) for delivery in (mail, sms, unsettled, doubtful)]
    assert [hit.reason if hit else "" for hit in verdicts] == ["too_soon", None, "too_soon", None]


def test_the_hidden_link_turns_earlier_verdicts_round(store: Store) -> None:
    delivery = find(store, send(store))
    click = keep(store, delivery, at_ms=AT)
    opened = keep(store, delivery, "open", at_ms=AT + 1)
    other = keep(store, delivery, at_ms=AT + 2, address="192.0.2.1")
    assert click and opened and other and not (click.machine or opened.machine or other.machine)
    with store.begin() as connection:
        told = read_untold(connection, before_ms=AT + 10)
        mark_told(connection, told, AT + 10)
        assert len(told) == 3 and not has_untold(connection)
    keep(store, delivery, "honeypot", at_ms=AT + 60_000)
    by_id = {hit.hit_id: hit for hit in read_all(store)}
    for hit in (click, opened):
        now = by_id[hit.hit_id]
        assert (now.machine, now.reason, now.rejudged_at_ms, now.told_at_ms) == (
            True,
            "honeypot",
            AT + 60_000,
            None,
        )
    assert by_id[other.hit_id].told_at_ms == AT + 10
    with store.begin() as connection:
        events = [
            build_hit_event(hit, "https://x.example/") for hit in read_untold(connection, before_ms=AT + HOUR)
        ]
    names = sorted(event["event"] for event in events)
    assert names == ["Hidden Link Followed", "Hit Judged Anew", "Hit Judged Anew"]
    first = build_hit_event(click, "https://x.example/")
    anew = next(event for event in events if event["properties"].get("hit") == "Link Clicked")
    assert anew["properties"]["corrects"] == first["messageId"] != anew["messageId"]
    assert (first["properties"]["machine"], anew["properties"]["machine"]) == (False, True)


def test_what_was_judged_anew_before_it_was_told_is_told_once(store: Store) -> None:
    delivery = find(store, send(store))
    keep(store, delivery, at_ms=AT, place=0)
    keep(store, delivery, at_ms=AT + 400, place=1)
    with store.begin() as connection:
        told = read_untold(connection, before_ms=AT + 10_000)
    assert [(hit.machine, hit.reason, hit.rejudged_at_ms) for hit in told] == [(True, "burst", None)] * 2
    assert {build_hit_event(hit)["event"] for hit in told} == {"Link Clicked"}


def test_hits_that_did_not_see_each_other_are_judged_when_they_are_told(store: Store) -> None:
    delivery = find(store, send(store))
    keep(store, delivery, at_ms=AT, place=0)
    keep(store, delivery, at_ms=AT + 100, place=1)
    with store.begin() as connection:  # as if both had been written at once
        connection.execute(sa.update(TRACKING_HITS).values(machine=False, reason=None))
    with store.begin() as connection:
        told = read_untold(connection, before_ms=AT + 10_000)
    assert [hit.reason for hit in told] == ["burst", "burst"]


def test_a_verdict_that_changes_while_it_is_told_is_corrected(store: Store) -> None:
    delivery = find(store, send(store))
    keep(store, delivery, at_ms=AT)
    with store.begin() as connection:
        told = read_untold(connection, before_ms=AT + 1)
    keep(store, delivery, "honeypot", at_ms=AT + 5)
    with store.begin() as connection:
        mark_told(connection, told, AT + 6)
        waiting = read_untold(connection, before_ms=AT + HOUR)
    assert sorted(build_hit_event(hit)["event"] for hit in waiting) == [
        "Hidden Link Followed",
        "Hit Judged Anew",
    ]


def test_a_storm_of_requests_is_not_written_down(store: Store) -> None:
    delivery = find(store, send(store))
    first = keep(store, delivery)
    assert first is not None
    row = vars(first)
    with store.begin() as connection:
        connection.execute(
            sa.insert(TRACKING_HITS), [{**row, "hit_id": f"{n:032x}"} for n in range(MOST_HITS - 1)]
        )
    assert keep(store, delivery, at_ms=AT + HOUR) is None
    assert len(read_all(store)) == MOST_HITS


def test_many_at_once_are_judged_as_one_by_one(store: Store) -> None:
    one, two = (find(store, send(store, name)) for name in ("c1", "c2"))
    places = [
        (one, "click", 0, 0),
        (one, "click", 1, 300),
        (two, "click", 0, 0),
        (two, "open", 0, 1),
        (one, "click", 0, 0),
    ]
    arrivals = [
        Arrival(delivery, kind, Click(delivery.delivery_id[:24], LINK, place), ask(AT + later))  # type: ignore[arg-type]
        for delivery, kind, place, later in places
    ]
    with store.begin() as connection:
        kept = record_hits(connection, arrivals)
    assert [hit.reason if hit else "known" for hit in kept] == ["burst", "burst", None, None, "known"]
    assert {hit.hit_id: hit for hit in read_all(store)} == {hit.hit_id: hit for hit in kept if hit}


def test_threads_share_their_commits_and_lose_nothing(store: Store) -> None:
    deliveries = [find(store, send(store, f"c{number}")) for number in range(4)]
    writer = HitWriter(store)
    commits: list[int] = []
    sa.event.listen(store.engine, "commit", lambda _: commits.append(1))

    def visit(delivery: Delivered, number: int) -> None:
        for turn in range(10):
            hit = ask(AT + turn * 10_000, address=f"198.51.{number}.1")
            writer.keep(Arrival(delivery, "click", Click(delivery.delivery_id[:24], LINK, 0), hit))

    threads = [threading.Thread(target=visit, args=(deliveries[n % 4], n)) for n in range(8)]
    # Whoever comes first waits for its turn until all have come.
    with writer._turn:
        for thread in threads:
            thread.start()
        while len(writer._waiting) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert len(read_all(store)) == 80
    assert len(commits) < 80


def test_a_store_that_fails_tells_everybody_who_waits(store: Store) -> None:
    delivery = find(store, send(store))
    writer = HitWriter(store)
    with store.begin() as connection:
        connection.execute(sa.text("ALTER TABLE tracking_hits RENAME TO away"))
    arrival = Arrival(delivery, "open", Click(delivery.delivery_id[:24]), ask())
    for _ in range(2):
        with pytest.raises(sa.exc.SQLAlchemyError):
            writer.keep(arrival)
    with store.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO tracking_hits"))
    writer.keep(arrival)
    assert len(read_all(store)) == 1


def test_engagement_counts_people_and_machines_apart(store: Store) -> None:
    one, two = (find(store, send(store, name)) for name in ("c1", "c2"))
    keep(store, one, "open", at_ms=AT)
    keep(store, one, "open", at_ms=AT + 9, agent="Mozilla/5.0")
    keep(store, one, at_ms=AT + 60_000)
    keep(store, two, at_ms=AT + 7, method="HEAD")
    keep(store, two, "honeypot", at_ms=AT + 8, address="192.0.2.7")
    with store.begin() as connection:
        found = {row.customer_id: row for row in measure_engagement(connection, "p1")}
        assert list(measure_engagement(connection, "p2")) == []
        assert [hit.kind for hit in read_hits(connection, customers=["c2"], plan_id="p1")] == [
            "click",
            "honeypot",
        ]
    assert found["c1"] == Engagement(one.delivery_id, "c1", 1, 1, 1, 0, AT, AT + 60_000)
    assert found["c2"] == Engagement(two.delivery_id, "c2", 0, 0, 0, 1, None, None)
