"""What is signed is compared in constant time, and in full, whatever comes; keys that were changed end on their day."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from aimwell.core.errors import AimwellError
from aimwell.deployment.channels.hooks import check_signature, sign_body
from aimwell.deployment.channels.sms_hooks import read_hook
from aimwell.deployment.channels.webhook import HookSecret, sign_hook, verify_hook
from aimwell.deployment.desk.visit_sheet import export_visits
from aimwell.deployment.desk.visits import Visit
from aimwell.deployment.tracking.endpoints import Manner, Tracking
from aimwell.deployment.tracking.hits import remember_links
from aimwell.deployment.tracking.keys import Keyring, load_keyring, rotate_keys
from aimwell.deployment.tracking.tokens import identify_link, read_click, sign_click, sign_delivery, unseal
from aimwell.deployment.unsubscribe import read_token, sign_preferences_token, sign_token
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Workspace
from tests.deployment.tracking.scene import RING, SECRET, ask, identify, send

TARGET = "https://shop.example/p"
BODY = b'{"out_id": "x"}'
DAY_MS = 86_400_000
HOOK = HookSecret(b"k" * 32)
SIGNED = sign_hook("m", BODY, [HOOK], at=1_000)
EVIL = (
    "=1+1",
    '=HYPERLINK("http://x")',
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "\t=1",
    "＝1+1",
    "|x",
    "%0A=1",
)


def spoil(token: str, place: int) -> str:
    """The token with one sign changed that stands for whole bits."""
    other = "1" if token[place] != "1" else "2"
    return token[:place] + other + token[place + 1 :]


def make_first_kind() -> str:
    """An unsubscribe token as they were made at first."""
    payload = json.dumps(["c1", "email"]).encode()
    signature = hmac.new(SECRET, b"aimwell unsubscribe 1\x00" + payload, hashlib.sha256).digest()
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, signature))


def check_report(signature: str) -> None:
    check_signature(SECRET, "1000", BODY, signature, now_ms=1_000_000)


def check_hook(signature: str) -> None:
    verify_hook({**SIGNED, "webhook-signature": f"v1,{signature}"}, BODY, [HOOK], at=1_000)


VERIFIERS: dict[str, tuple[str, Callable[[str], object], range]] = {
    "a click": (
        sign_click(RING, identify(), TARGET, 0),
        lambda token: read_click(RING, token),
        range(31, 51),
    ),
    "the first kind of unsubscribe link": (
        make_first_kind(),
        lambda token: read_token(RING, token),
        range(len(make_first_kind()) - 40, len(make_first_kind()) - 1),
    ),
    "a provider's report": (sign_body(SECRET, "1000", BODY), check_report, range(0, 64)),
    "a standard webhook": (SIGNED["webhook-signature"].removeprefix("v1,"), check_hook, range(0, 40)),
}


@pytest.mark.parametrize("name", VERIFIERS)
def test_wherever_a_signature_is_wrong_as_much_is_compared(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, verify, places = VERIFIERS[name]
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    verify(good)
    expected = list(compared)
    assert expected and all(one == other for one, other in expected)
    told = set()
    for place in (places[0], places[len(places) // 2], places[-1]):
        compared.clear()
        with pytest.raises(AimwellError) as caught:
            verify(spoil(good, place))
        assert compared == expected
        told.add((caught.value.code, str(caught.value.message)))
    assert len(told) == 1


def test_a_sealed_token_is_refused_wherever_it_was_changed() -> None:
    token = sign_token(RING, customer_id="c1", channel="email")
    told = set()
    for place in range(2, len(token)):
        with pytest.raises(AimwellError) as caught:
            read_token(RING, spoil(token, place))
        told.add((caught.value.code, str(caught.value.message)))
    assert len(told) == 1
    # Two customers' tokens in one make no third.
    other = sign_token(RING, customer_id="c2", channel="email")
    for cut in range(1, min(len(token), len(other))):
        if token[:cut] + other[cut:] not in (token, other):
            with pytest.raises(AimwellError):
                unseal(RING, "unsubscribe", token[:cut] + other[cut:])


def load_ring(workspace: Workspace, secret: bytes) -> Keyring:
    with workspace.store.snapshot() as connection:
        return load_keyring(connection, secret)


def test_every_kind_of_link_works_after_a_rotation_until_its_day(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", name="Shop")
    delivery = send(workspace.store)
    keys = Keyring.of(load_secret(workspace.path))
    with workspace.store.begin() as connection:
        remember_links(connection, {identify_link(TARGET): TARGET}, 1)
    opened, trap = (sign_delivery(keys, purpose, delivery) for purpose in ("open", "trap"))
    click = sign_click(keys, delivery, TARGET, 0)
    leave = sign_token(keys, customer_id="c1", channel="email")
    choose = sign_preferences_token(keys, customer_id="c1")

    def follow(tracking: Tracking) -> list[int]:
        return [
            answer.status
            for answer in (
                tracking.handle_click(click, ask()),
                tracking.handle_open(f"{opened}.gif", ask()),
                tracking.handle_honeypot(trap, ask()),
                tracking.show_unsubscribe(leave, ask()),
                tracking.post_unsubscribe(leave, ask(method="POST"), {"List-Unsubscribe": "One-Click"}),
                tracking.show_preferences(choose, ask()),
            )
        ]

    works = [302, 200, 200, 200, 200, 200]
    assert follow(Tracking.open(workspace)) == works
    # The ring reads this machine's clock: a rotation so long ago that only minutes are left, and one that is over.
    now_ms = int(time.time() * 1000)
    with workspace.store.begin() as connection:
        rotate_keys(connection, now_ms=now_ms + 600_000 - 60 * DAY_MS, keep_days=60)
    assert follow(Tracking.open(workspace)) == works
    fresh = sign_click(load_ring(workspace, load_secret(workspace.path)), delivery, TARGET, 0)
    assert fresh != click and Tracking.open(workspace).handle_click(fresh, ask()).status == 302
    other = Workspace.create(tmp_path / "o", name="Shop")
    with other.store.begin() as connection:
        rotate_keys(connection, now_ms=now_ms - 600_000 - 60 * DAY_MS, keep_days=60)
        remember_links(connection, {identify_link(TARGET): TARGET}, 1)
    secret = load_secret(workspace.path)
    ended = Tracking(other.store, lambda: load_ring(other, secret), Manner("Shop"), None)
    assert follow(ended) == [404] * 6
    workspace.close()
    other.close()


@pytest.mark.parametrize("evil", EVIL)
def test_a_visit_plan_holds_no_formula(tmp_path: Path, evil: str) -> None:
    visit = Visit("v1", evil, evil, date(2026, 1, 5), evil, 100, "due", note=evil)
    export_visits(tmp_path / "visits.csv", [visit], {evil: evil})
    with (tmp_path / "visits.csv").open(encoding="utf-8-sig", newline="") as stream:
        cells = list(csv.reader(stream))[1]
    assert sum(evil.strip() in cell for cell in cells) >= 5
    for cell in cells:
        assert not cell.lstrip(" \u3000").startswith(("=", "+", "-", "@", "\t", "＝", "|", "%")), cell


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 50_000, b"[]" * 3, b"\xff", b"[1]", b"3", b"[" + b"{}," * 1_000_000 + b"{}]"],
)
def test_a_signed_report_that_cannot_be_read_is_refused_without_harm(body: bytes) -> None:
    headers = {"x-timestamp": "1000", "x-signature": sign_body(SECRET, "1000", body)}
    with pytest.raises(AimwellError) as caught:
        read_hook("p", headers, body, SECRET, now_ms=1_000_000)
    assert caught.value.code == "deployment.hook_unreadable"
