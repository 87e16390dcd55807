"""What recipients did and chose reaches the warehouse: once, whatever is repeated, and after what the store has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.customer_tables import IDENTITIES
from aimwell.core.time import now
from aimwell.data.consent import show_consents
from aimwell.deployment.tracking.endpoints import Tracking
from aimwell.deployment.tracking.hits import has_untold, remember_links
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.preferences import read_changes, read_standing
from aimwell.deployment.tracking.tokens import identify_link, sign_click, sign_delivery
from aimwell.deployment.unsubscribe import sign_preferences_token, sign_token
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Workspace
from aimwell.loop import preferences
from aimwell.loop.preferences import has_news, tell_warehouse
from tests.deployment.scene import DAY, build_workspace
from tests.deployment.tracking.scene import HOUR, ask, identify, permit, send

TARGET = "https://shop.example/p"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path / "w", customers=4)


def now_ms() -> int:
    return int(now().timestamp() * 1000)


def read_events(workspace: Workspace) -> list[dict[str, Any]]:
    columns = "event_id, customer_id, name, campaign_id, channel, properties"
    query = f"SELECT {columns} FROM events ORDER BY occurred_at, event_id"
    with workspace.read() as reader:
        rows = reader.query(query).to_pylist()
    return [{**row, "properties": json.loads(row["properties"])} for row in rows]


def ring(workspace: Workspace) -> Keyring:
    return Keyring.of(load_secret(workspace.path))


def test_an_idle_workspace_has_nothing_to_tell(workspace: Workspace) -> None:
    assert not has_news(workspace)
    assert tell_warehouse(workspace) == 0
    assert read_events(workspace) == []


def test_opens_and_clicks_become_events_of_the_customer(workspace: Workspace) -> None:
    at = now_ms() - 60_000
    send(workspace.store, "c01", finished_at_ms=at - HOUR)
    tracking, keys = Tracking.open(workspace), ring(workspace)
    with workspace.store.begin() as connection:
        remember_links(connection, {identify_link(TARGET): TARGET}, at)
    tracking.handle_open(sign_delivery(keys, "open", identify("c01")), ask(at, agent="Mozilla/5.0"))
    tracking.handle_click(sign_click(keys, identify("c01"), TARGET, 0), ask(at + 1_000))
    assert has_news(workspace)
    assert tell_warehouse(workspace) == 2
    assert tell_warehouse(workspace) == 0 and not has_news(workspace)
    opened, clicked = read_events(workspace)
    assert (opened["name"], opened["customer_id"], opened["campaign_id"]) == ("Message Opened", "c01", "p1")
    assert (opened["properties"]["machine"], opened["properties"]["reason"]) == (True, "privacy_proxy")
    assert (clicked["name"], clicked["channel"]) == ("Link Clicked", "email")
    assert clicked["properties"]["link"] == TARGET and clicked["properties"]["machine"] is False
    assert clicked["properties"]["delivery_id"] == identify("c01")


def test_young_hits_wait_for_what_may_speak_against_them(workspace: Workspace) -> None:
    at = now_ms()
    send(workspace.store, "c01", finished_at_ms=at - HOUR)
    Tracking.open(workspace).handle_open(sign_delivery(ring(workspace), "open", identify("c01")), ask(at))
    assert tell_warehouse(workspace, settle_seconds=600) == 0
    assert tell_warehouse(workspace, settle_seconds=-5) == 1


def test_a_withdrawal_and_its_undoing_are_consents_in_the_warehouse(workspace: Workspace) -> None:
    at = now_ms() - 60_000
    permit(workspace.store, "c01", "email")
    tracking = Tracking.open(workspace)
    token = sign_token(load_secret(workspace.path), customer_id="c01", channel="email")
    ended = tracking.post_unsubscribe(token, ask(at, "POST"), {"List-Unsubscribe": "One-Click"})
    assert tell_warehouse(workspace) == 1
    state = next(row for row in show_consents(workspace, "c01")["states"] if row["channel"] == "email")
    assert (state["allowed"], state["source"]) == (False, "one_click")
    ticket = ended.body.decode().partition('name="ticket" value="')[2].partition('"')[0]
    # The same millisecond: the permission came second, and so it stands second.
    tracking.post_unsubscribe(token, ask(at, "POST"), {"action": "subscribe", "ticket": ticket})
    assert tell_warehouse(workspace) == 1
    state = next(row for row in show_consents(workspace, "c01")["states"] if row["channel"] == "email")
    assert state["allowed"] is True
    names = [(event["name"], event["properties"]["source"]) for event in read_events(workspace)]
    assert sorted(names) == [("Consent Given", "unsubscribe_page"), ("Consent Withdrawn", "one_click")]


def test_after_a_crash_it_is_told_again_and_known(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now_ms() - 60_000
    permit(workspace.store, "c01", "email", "sms")
    send(workspace.store, "c01", finished_at_ms=at - HOUR)
    tracking = Tracking.open(workspace)
    central = sign_preferences_token(load_secret(workspace.path), customer_id="c01")
    tracking.post_preferences(central, ask(at, "POST"), {"action": "stop"})
    tracking.handle_open(sign_delivery(ring(workspace), "open", identify("c01")), ask(at))

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("mark_changes_told", "mark_told"):
        with monkeypatch.context() as patch:
            patch.setattr(preferences, name, fail)
            with pytest.raises(KeyboardInterrupt):
                tell_warehouse(workspace)
        if name == "mark_changes_told":
            assert has_news(workspace)
            with workspace.store.begin() as connection:
                assert len(read_changes(connection)) == 2
    with workspace.store.begin() as connection:
        assert has_untold(connection)
    tell_warehouse(workspace)
    history = show_consents(workspace, "c01")["history"]
    mine = [(row["channel"], row["allowed"]) for row in history if row["source"] == "preference_page"]
    assert sorted(mine) == [("email", False), ("sms", False)]
    assert sorted(event["name"] for event in read_events(workspace)) == [
        "Consent Withdrawn",
        "Consent Withdrawn",
        "Message Opened",
    ]


def test_who_is_not_known_to_the_warehouse_is_still_obeyed(workspace: Workspace) -> None:
    token = sign_token(load_secret(workspace.path), customer_id="nobody", channel="email")
    Tracking.open(workspace).post_unsubscribe(
        token, ask(now_ms() - 9_000, "POST"), {"List-Unsubscribe": "One-Click"}
    )
    assert tell_warehouse(workspace) == 1
    assert not has_news(workspace)


def test_what_one_record_said_holds_for_the_person_it_was_joined_with(workspace: Workspace) -> None:
    at = now_ms() - 60_000
    permit(workspace.store, "c02", "email")
    with workspace.run("data", as_of=DAY) as run:
        joined = {"record_id": "old-7", "customer_id": "c02", "run_id": run.id}
        run.append("identities", IDENTITIES.build([joined]))
    token = sign_token(load_secret(workspace.path), customer_id="old-7", channel="email")
    tracking = Tracking.open(workspace)
    ended = tracking.post_unsubscribe(token, ask(at, "POST"), {"List-Unsubscribe": "One-Click"})
    assert tell_warehouse(workspace) == 1
    with workspace.store.begin() as connection:
        assert read_standing(connection, "c02", at).channels == {"email": False}
        assert [line.channel for line in list_suppressions(connection, ["c02"])] == ["email"]
    assert not any(
        row["allowed"] for row in show_consents(workspace, "c02")["states"] if row["channel"] == "email"
    )
    ticket = ended.body.decode().partition('name="ticket" value="')[2].partition('"')[0]
    tracking.post_unsubscribe(token, ask(at + 5, "POST"), {"action": "subscribe", "ticket": ticket})
    tell_warehouse(workspace)
    with workspace.store.begin() as connection:
        assert read_standing(connection, "c02", at).channels == {"email": True}
