"""The queue of events: what is offered together is kept together, and who finds no room is told so at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aimwell.data import event_intake, event_queue
from aimwell.data.event_queue import MOST_TOGETHER, EventQueue
from aimwell.engine.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w", zone="UTC")


def track(name: str) -> dict[str, Any]:
    return {"type": "track", "event": "Seen", "messageId": name, "userId": "u"}


def list_events(workspace: Workspace) -> list[str]:
    with workspace.read() as reader:
        found: list[str] = reader.query("SELECT event_id FROM events ORDER BY event_id")[
            "event_id"
        ].to_pylist()
        return found


def test_what_is_offered_is_told_in_order(workspace: Workspace) -> None:
    with EventQueue(workspace) as queue:
        answer = queue.offer([track("a"), {"type": "trick"}, track("a"), track("b")])
        assert answer is not None
        assert [one.status for one in answer.result(60)] == ["accepted", "rejected", "duplicate", "accepted"]
        assert queue.depth == 0
    assert list_events(workspace) == ["a", "b"]


def test_a_full_queue_takes_nothing_and_waits_for_nobody(workspace: Workspace) -> None:
    queue = EventQueue(workspace, most_waiting=3)
    # Not begun yet: what is handed over waits.
    first = queue.offer([track("a"), track("b")])
    assert first is not None and queue.depth == 2
    assert queue.offer([track("c"), track("d")]) is None
    second = queue.offer([track("c")])
    assert second is not None and queue.depth == 3
    with queue:
        assert len(first.result(60)) == 2 and len(second.result(60)) == 1
    assert list_events(workspace) == ["a", "b", "c"]
    with pytest.raises(RuntimeError):
        queue.offer([track("late")])


def test_few_large_events_fill_the_queue_as_many_small_ones_do(workspace: Workspace) -> None:
    queue = EventQueue(workspace, most_bytes=1_000)
    first = queue.offer([track("a")], size=600)
    assert first is not None
    assert queue.offer([track("b")], size=401) is None
    second = queue.offer([track("c")], size=400)
    assert queue.offer([track("d")], size=1) is None
    with queue:
        assert second is not None
        assert len(first.result(60)) == len(second.result(60)) == 1
        # Alone, it is taken whatever its size.
        large = queue.offer([track("e")], size=5_000)
        assert large is not None and large.result(60)[0].status == "accepted"
        assert queue.put(track("f"), size=5_000).result(60).status == "accepted"
    assert list_events(workspace) == ["a", "c", "e", "f"]


def test_large_events_make_small_commits(workspace: Workspace) -> None:
    queue = EventQueue(workspace)
    half = event_queue.MOST_BYTES_TOGETHER // 2
    answers = [queue.offer([track(f"{number}")], size=half) for number in range(5)]
    with queue:
        assert all(answer is not None and answer.result(60) for answer in answers)
    assert queue.commits == 3


def test_more_than_the_queue_holds_is_taken_when_nothing_waits(workspace: Workspace) -> None:
    with EventQueue(workspace, most_waiting=2) as queue:
        answer = queue.offer([track(f"e{number}") for number in range(5)])
        assert answer is not None and len(answer.result(60)) == 5
        assert queue.put(track("later")).result(60).status == "accepted"


def test_commits_stay_small_and_are_shared(workspace: Workspace) -> None:
    queue = EventQueue(workspace)
    answers = [queue.offer([track(f"{part}-{number}") for number in range(300)]) for part in range(7)]
    with queue:
        assert all(answer is not None and len(answer.result(60)) == 300 for answer in answers)
    # Three times three hundred fit into one commit.
    assert queue.commits == -(-7 // (MOST_TOGETHER // 300))


def test_one_that_nobody_foresaw_fails_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = event_intake.read_message

    def read(message: Any, terms: Any) -> Any:
        if message["messageId"] == "poison":
            raise ZeroDivisionError
        return real(message, terms)

    monkeypatch.setattr(event_intake, "read_message", read)
    queue = EventQueue(workspace)
    answers = {name: queue.offer([track(name)]) for name in ("a", "poison", "b")}
    with queue:
        poison = answers.pop("poison")
        assert poison is not None
        with pytest.raises(ZeroDivisionError):
            poison.result(60)
        assert [one.result(60)[0].status for one in answers.values() if one] == ["accepted", "accepted"]
    assert list_events(workspace) == ["a", "b"]
