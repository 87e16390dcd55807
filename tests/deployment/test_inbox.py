from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aimwell.deployment.channels.channel import Message, Outcome
from aimwell.deployment.channels.event_outbox import count_events, forward_events, make_event, put_events
from aimwell.deployment.channels.inbox import (
    InboxChannel,
    Mark,
    count_unread,
    drop_expired,
    list_messages,
    mark,
)
from aimwell.engine.store import Store
from tests.deployment.scene import open_store
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

DAY = 86_400_000


def write(number: int, customer: str = "a", **details: str) -> Message:
    return Message(
        f"{number:064d}", "p1", customer, customer, f"正文{number}", subject=f"标题{number}", details=details
    )


def put(store: Store, *messages: Message, at: float = 1.0) -> None:
    channel = InboxChannel(store, days=30, clock=lambda: at)
    assert {receipt.outcome for receipt in channel.deliver_batch(messages)} == {Outcome.SENT}


def show(store: Store, customer: str = "a", now: int = 2_000) -> list[tuple[str, bool]]:
    with store.begin() as connection:
        return [(one.title, one.read_at_ms is not None) for one in list_messages(connection, customer, now)]


def tick(store: Store, number: int, state: Mark, customer: str = "a", now: int = 2_000) -> bool:
    with store.begin() as connection:
        return mark(connection, customer, f"{number:064d}", state, now)


def check_inbox(store: Store) -> None:
    for at in (1.0, 1.5):
        put(store, write(1), write(2), write(3, "b"), at=at)
    assert sorted(show(store)) == [("标题1", False), ("标题2", False)], "handing over again adds nothing"
    assert tick(store, 1, "read") and tick(store, 1, "read")
    assert not tick(store, 3, "read"), "another customer's message is nobody else's business"
    assert tick(store, 2, "dismissed") and not tick(store, 2, "read")
    assert show(store) == [("标题1", True)]
    with store.begin() as connection:
        assert count_unread(connection, "a", 2_000) == 0
    assert tick(store, 1, "unread") and tick(store, 1, "read")
    events: list[dict[str, Any]] = []
    assert forward_events(store, events.extend) == 2
    assert sorted(event["event"] for event in events) == ["Message Dismissed", "Message Opened"]


def test_each_customer_has_an_inbox(tmp_path: Path) -> None:
    check_inbox(open_store(tmp_path))


def test_each_customer_has_an_inbox_on_postgresql(postgres: Server) -> None:  # noqa: F811
    postgres.run("CREATE DATABASE inbox")
    store = Store(postgres.address("inbox"))
    store.migrate()
    check_inbox(store)


def test_messages_end_and_are_cleared_away(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, write(1), write(2, expires_at_ms="5000"))
    assert len(show(store, now=4_999)) == 2
    assert show(store, now=5_000) == [("标题1", False)]
    assert not tick(store, 2, "read", now=5_000)
    assert show(store, now=1_000 + 30 * DAY) == []
    with store.begin() as connection:
        assert drop_expired(connection, 6_000) == 1
        assert drop_expired(connection, 6_000) == 0


LINKS = {
    "https://shop.example/a": True,
    "/offers": True,
    "//evil.example": False,
    "javascript:alert(1)": False,
    "data:text/html,x": False,
    "": False,
}


@pytest.mark.parametrize(("link", "kept"), LINKS.items())
def test_a_link_leads_to_a_page_or_nowhere(tmp_path: Path, link: str, kept: bool) -> None:
    store = open_store(tmp_path)
    put(store, write(1, link=link))
    with store.begin() as connection:
        assert list_messages(connection, "a", 2_000)[0].link == (link if kept else None)


def test_an_intake_that_fails_loses_no_event(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    events = [make_event("Call Completed", "a", number, {"n": number}, key=[number]) for number in range(700)]
    with store.begin() as connection:
        assert put_events(connection, events, 1) == 700
        assert put_events(connection, events, 1) == 0
    taken: list[str] = []

    def take(batch: list[dict[str, Any]]) -> None:
        if len(taken) >= 500:
            raise ConnectionError
        taken.extend(event["messageId"] for event in batch)

    with pytest.raises(ConnectionError):
        forward_events(store, take)
    with store.begin() as connection:
        assert count_events(connection) == 200
    assert forward_events(store, lambda batch: taken.extend(event["messageId"] for event in batch)) == 200
    assert len(taken) == len(set(taken)) == 700
