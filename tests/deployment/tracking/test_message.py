"""A tracked message: its links are in the store before it goes out, and lead on when they are clicked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aimwell.core.text import LANGUAGES, Language
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.tracking.endpoints import Tracking
from aimwell.deployment.tracking.message import Tracker
from aimwell.deployment.unsubscribe import build_link
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import TrackingSettings
from aimwell.engine.workspace import Workspace
from tests.deployment.tracking.scene import AT, BASE, ask, send

PAGE = (
    '<html><body><a href="https://x.example/a?b=1&amp;c=2">A</a><a href="https://x.example/a?b=1&amp;c=2">B</a>'
    '<a href="{link}">out</a></body></html>'
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w", name="Shop", zone="UTC", currency="USD")


def compose(workspace: Workspace, delivery: str, **values: str) -> Message:
    link = build_link(load_secret(workspace.path), customer_id="c1", channel="email", address=BASE)
    text = values.get("text", f"A: https://x.example/a?b=1&c=2\n{link}\n")
    page = values.get("html", PAGE.format(link=link))
    return Message(delivery, "p1", "c1", "c1@x.example", text, html=page, unsubscribe_url=link)


def test_links_pixel_and_trap_work_at_the_endpoints(workspace: Workspace) -> None:
    delivery = send(workspace.store)
    message = compose(workspace, delivery)
    tracked = Tracker.open(workspace, address=BASE).track(message)
    tracking = Tracking.open(workspace)
    clicks = re.findall(rf'{BASE}/c/([^"\s]+)', tracked.html + tracked.text)
    assert len(clicks) == len(set(clicks)) == 3
    for place, token in enumerate(clicks):
        answer = tracking.handle_click(token, ask(AT + place * 60_000))
        assert dict(answer.headers)["Location"].startswith("https://x.example/a?b=1&c=2&aw=")
    pixel, trap = (re.findall(rf'{BASE}/{kind}/([^"]+)"', tracked.html) for kind in "oh")
    assert len(pixel) == len(trap) == 1
    assert tracking.handle_open(pixel[0], ask()).status == 200
    assert tracking.handle_honeypot(trap[0], ask()).status == 200
    for body in (tracked.html, tracked.text):
        assert message.unsubscribe_url in body
    assert tracked.html.endswith("</body></html>") and tracked.unsubscribe_url == message.unsubscribe_url


def test_the_same_message_is_made_the_same_again(workspace: Workspace) -> None:
    delivery = send(workspace.store)
    message = compose(workspace, delivery)
    first, second = (Tracker.open(workspace, address=BASE).track(message) for _ in range(2))
    assert first == second


def test_what_is_not_wanted_is_left_out(workspace: Workspace) -> None:
    delivery = send(workspace.store)
    message = compose(workspace, delivery)
    tracker = Tracker.open(workspace, address=BASE)
    tracker._settings = TrackingSettings(clicks=False, opens=False)
    assert tracker.track(message) == message
    sms = compose(workspace, delivery, html="", text="https://x.example/a 回T退订")
    assert tracker.track(sms) == sms == Tracker.open(workspace, address=BASE).track(sms, "sms")


def test_without_a_public_address_links_stay_as_they_are(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIMWELL_PUBLIC_URL", raising=False)
    message = compose(workspace, send(workspace.store))
    assert Tracker.open(workspace).track(message) == message
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", BASE)
    assert f"{BASE}/c/" in Tracker.open(workspace).track(message).html


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_workspaces_settings_speak(tmp_path: Path, language: Language) -> None:
    currency = {"en": "USD", "zh": "CNY"}[language]
    workspace = Workspace.create(tmp_path / currency, name="Shop", zone="UTC", currency=currency)
    answer = Tracking.open(workspace).show_unsubscribe("x", ask())
    assert dict(answer.headers)["Content-Language"] == {"en": "en", "zh": "zh-Hans"}[language]
