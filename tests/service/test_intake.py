"""Events by Segment's own client, unchanged, and by hand: durable before the answer, each item told by itself."""

from __future__ import annotations

import gzip
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client

from aimwell.engine.workspace import Workspace
from aimwell.service.app import create_app
from tests.service.scene import (
    PATIENCE,
    Service,
    make_key,
    make_workspace,
    read_events,
    running,
    serving,
    wait_until,
)


def make_client(service: Service, key: str, **more: Any) -> Client:
    return Client(key, host=service.url, sync_mode=True, timeout=PATIENCE, max_retries=0, **more)


def track(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Viewed", "userId": "u1", "messageId": f"m{number}", **more}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Workspace]:
    made = make_workspace(tmp_path / "w")
    yield made
    made.close()


@pytest.mark.parametrize("packed", [False, True])
def test_segments_client_sends_every_kind(
    workspace: Workspace, service: Service, key: str, packed: bool
) -> None:
    client, who = make_client(service, key, gzip=packed), f"client-{packed}"
    client.track(who, "Product Viewed", {"product_id": "p1"}, message_id=f"{who}-track")
    client.identify(who, {"city": "Hangzhou"}, message_id=f"{who}-identify")
    client.page(who, "shop", "home", message_id=f"{who}-page")
    client.screen(who, name="start", message_id=f"{who}-screen")
    client.group(who, "g1", {"name": "VIP"}, message_id=f"{who}-group")
    client.alias("before", who, message_id=f"{who}-alias")
    found = {
        row["event_id"]: row["name"] for row in read_events(workspace) if row["event_id"].startswith(who)
    }
    assert found == {
        f"{who}-track": "Product Viewed",
        f"{who}-identify": "User Identified",
        f"{who}-page": "Page Viewed",
        f"{who}-screen": "Screen Viewed",
        f"{who}-group": "Group Joined",
        f"{who}-alias": "User Aliased",
    }


def test_segments_client_sends_in_the_background(workspace: Workspace, service: Service, key: str) -> None:
    failures: list[object] = []
    client = Client(key, host=service.url, on_error=lambda *told: failures.append(told), upload_interval=0.05)
    for number in range(250):
        client.track(f"u{number % 7}", "Seen", message_id=f"background-{number}")
    client.shutdown()
    assert failures == []
    told = [row for row in read_events(workspace) if row["event_id"].startswith("background-")]
    assert len(told) == 250


def test_segments_client_learns_that_its_key_is_wrong(service: Service) -> None:
    from segment.analytics.request import APIError

    with pytest.raises(APIError) as caught:
        make_client(service, "aw_000000000000_wrong").track("u1", "Seen")
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/t", "Viewed"), ("/v1/i", "User Identified"), ("/v1/p", "Page Viewed"), ("/v1/s", "Screen Viewed")],
)
def test_short_paths_say_the_kind(
    workspace: Workspace, service: Service, key: str, path: str, name: str
) -> None:
    message = {"userId": "short", "event": "Viewed", "messageId": f"short{path}", "writeKey": key}
    assert service.call(path, message).status == 200
    (row,) = [row for row in read_events(workspace) if row["event_id"] == f"short{path}"]
    assert row["name"] == name


def test_the_path_says_the_kind_whatever_the_body_says(
    workspace: Workspace, service: Service, key: str
) -> None:
    assert service.call("/v1/page", track(type="track", messageId="path"), key=key).status == 200
    assert [row["name"] for row in read_events(workspace) if row["event_id"] == "path"] == ["Page Viewed"]


def test_each_item_is_told_by_itself(workspace: Workspace, service: Service, key: str) -> None:
    items: list[object] = [
        track(messageId="item-0"),
        track(messageId="item-1", userId=None),
        "no object",
        track(messageId="item-3", properties={"text": "x" * 40_000}),
        track(messageId="item-0"),
        track(messageId="item-5", type="trick"),
    ]
    answer = service.call("/v1/batch", {"batch": items}, key=key)
    assert answer.status == 207
    told = answer.json
    assert (told["success"], told["accepted"], told["duplicate"], told["rejected"]) == (False, 1, 1, 4)
    assert [(one["index"], one["error"]["code"]) for one in told["errors"]] == [
        (1, "data.event_without_person"),
        (2, "service.item_no_object"),
        (3, "service.item_too_large"),
        (5, "data.event_of_unknown_type"),
    ]
    assert [row["event_id"] for row in read_events(workspace) if row["event_id"].startswith("item-")] == [
        "item-0"
    ]


def test_an_order_whose_lines_cannot_be_read_is_taken_and_told(service: Service, key: str) -> None:
    bad = track(messageId="lines", event="Order Completed", properties={"products": "none"})
    answer = service.call("/v1/track", bad, key=key)
    assert answer.status == 207
    assert answer.json["success"] is True
    assert answer.json["errors"][0]["status"] == "accepted"


def test_a_single_event_that_is_refused_is_an_error(service: Service, key: str) -> None:
    answer = service.call("/v1/track", {"userId": "u1"}, key=key, headers={"Accept-Language": "zh-CN"})
    assert (answer.status, answer.code) == (400, "data.event_without_name")
    assert answer.json["error"]["message"] == "该事件没有名称。"


def test_what_is_sent_again_counts_once(workspace: Workspace, service: Service, key: str) -> None:
    batch = {"batch": [track(messageId=f"again-{number}") for number in range(20)]}
    assert [service.call("/v1/batch", batch, key=key).status for _ in range(3)] == [200, 200, 200]
    assert len([row for row in read_events(workspace) if row["event_id"].startswith("again-")]) == 20


def test_what_a_batch_says_for_all_is_said_of_each(workspace: Workspace, service: Service, key: str) -> None:
    batch = {"context": {"campaign": {"name": "spring"}}, "batch": [track(messageId="shared")]}
    assert service.call("/v1/b", batch, key=key).status == 200
    (row,) = [row for row in read_events(workspace) if row["event_id"] == "shared"]
    assert json.loads(row["properties"])["context"] == {"campaign": {"name": "spring"}}


def test_keys_are_kept_nowhere(workspace: Workspace, service: Service, key: str) -> None:
    service.call("/v1/track", {**track(messageId="secret"), "writeKey": key, "event": ""}, key=key)
    service.call("/v1/track", {**track(messageId="secret-2"), "writeKey": key}, key=key)
    with workspace.read() as reader:
        kept = reader.query("SELECT record FROM rejects").to_pylist() + read_events(workspace)
    assert kept and key not in json.dumps(kept, default=str)


def test_a_sender_does_not_say_when_we_received(workspace: Workspace, service: Service, key: str) -> None:
    early = track(messageId="early", receivedAt="2001-01-01T00:00:00Z")
    assert service.call("/v1/track", early, key=key).status == 200
    with workspace.read() as reader:
        (row,) = reader.query("SELECT received_at FROM events WHERE event_id = 'early'").to_pylist()
    assert row["received_at"].year > 2001


def test_browsers_may_send_events_and_nothing_else(service: Service, key: str) -> None:
    asked = service.call("/v1/batch", method="OPTIONS", headers={"Origin": "https://shop.example"})
    assert asked.status == 204
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "authorization" in asked.headers["access-control-allow-headers"]
    sent = service.call("/v1/track", track(messageId="browser"), key=key)
    assert sent.headers["access-control-allow-origin"] == "*"
    refused = service.call("/v1/track", track(messageId="browser"))
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")
    decide = service.call("/v1/decide", {"customer_id": "u1"}, key=key)
    assert "access-control-allow-origin" not in decide.headers
    assert service.call("/v1/decide", method="OPTIONS").status == 405


def test_a_full_queue_sends_senders_away_and_keeps_what_it_took(fresh: Workspace) -> None:
    """With a queue for one event, while somebody else holds the store."""
    key = make_key(fresh)
    statuses: list[int] = []
    with serving(create_app(fresh, most_waiting=1)) as service:
        assert service.call("/v1/track", track(0), key=key).status == 200

        def send(number: int) -> None:
            answer = service.call("/v1/track", track(number), key=key)
            if answer.status == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.code == "service.queue_full"
            statuses.append(answer.status)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 9)]
        with fresh.store.begin():
            for thread in threads:
                thread.start()
            # One is being written, and one waits, unless the others came before the first was taken.
            wait_until(lambda: statuses.count(429) >= 6)
        for thread in threads:
            thread.join()
    assert set(statuses) == {200, 429}
    assert len(read_events(fresh)) == 1 + statuses.count(200)


def test_large_batches_are_sent_away_before_they_fill_the_memory(fresh: Workspace) -> None:
    """With a queue for one batch, while somebody else holds the store: few events, of many bytes."""
    key = make_key(fresh)
    statuses: list[int] = []
    with serving(create_app(fresh, most_bytes=100_000)) as service:
        assert service.call("/v1/track", track(0), key=key).status == 200

        def send(number: int) -> None:
            items = [track(10 * number + item, properties={"text": "x" * 20_000}) for item in range(4)]
            answer = service.call("/v1/batch", {"batch": items}, key=key)
            if answer.status == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.code == "service.queue_full"
            statuses.append(answer.status)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 9)]
        with fresh.store.begin():
            for thread in threads:
                thread.start()
            # One is being written, and one waits.
            wait_until(lambda: statuses.count(429) >= 6)
        for thread in threads:
            thread.join()
    assert set(statuses) == {200, 429}
    assert len(read_events(fresh)) == 1 + 4 * statuses.count(200)


def test_what_was_answered_survives_a_kill(fresh: Workspace) -> None:
    key = make_key(fresh)
    answered: list[str] = []
    with running(fresh.path) as service:
        enough = threading.Event()

        def send(sender: int) -> None:
            for number in range(10_000):
                names = [f"{sender}-{number}-{item}" for item in range(1 + number % 3)]
                batch = {"batch": [track(messageId=name) for name in names]}
                try:
                    if service.call("/v1/batch", batch, key=key).status == 200:
                        answered.extend(names)
                except OSError:
                    return
                if len(answered) > 60:
                    enough.set()

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(PATIENCE)
        assert service.end(signal.SIGKILL) == -signal.SIGKILL
        for thread in threads:
            thread.join()
    kept = {row["event_id"] for row in read_events(fresh)}
    assert len(answered) > 60
    assert set(answered) <= kept


def test_a_service_that_ends_answers_what_it_took(fresh: Workspace) -> None:
    key = make_key(fresh)
    statuses: list[int] = []
    with running(fresh.path) as service:
        # Two are too many for one commit.
        batch = {"batch": [track(messageId=f"end-{number}") for number in range(501)]}
        threads = [
            threading.Thread(target=lambda: statuses.append(service.call("/v1/batch", batch, key=key).status))
            for _ in range(4)
        ]
        with fresh.store.begin():
            for thread in threads:
                thread.start()
            # One waits for the store, and three for that one; then it is told to end.
            wait_until(lambda: b"\naimwell_events_waiting 1503.0" in service.call("/metrics", key=key).body)
            service.process.send_signal(signal.SIGTERM)
            threading.Event().wait(0.3)
        for thread in threads:
            thread.join()
        assert service.process.wait(PATIENCE) == 0
    assert statuses == [200] * 4
    assert len(read_events(fresh)) == 501


def test_gzip_is_understood_in_any_batch(workspace: Workspace, service: Service, key: str) -> None:
    body = gzip.compress(json.dumps({"batch": [track(messageId="packed")]}).encode())
    answer = service.call("/v1/batch", data=body, key=key, headers={"Content-Encoding": "gzip"})
    assert answer.status == 200
    assert "packed" in {row["event_id"] for row in read_events(workspace)}
