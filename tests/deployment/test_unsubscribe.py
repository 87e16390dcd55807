from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.unsubscribe import (
    SECRET_FILE,
    Unsubscribe,
    build_link,
    build_preferences_link,
    load_secret,
    read_preferences_token,
    read_token,
    sign_token,
)

SECRET = b"a secret of the test"


@given(customer=st.text(alphabet=st.characters(codec="utf-8")), channel=st.sampled_from(["email", "sms"]))
def test_a_token_reads_back(customer: str, channel: str) -> None:
    token = sign_token(SECRET, customer_id=customer, channel=channel)
    assert read_token(SECRET, token) == Unsubscribe(customer, channel)
    with pytest.raises(BadInput):
        read_token(b"another secret", token)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t[:-2],
        lambda t: "x" + t,
        lambda t: t[:20] + t[21:],
        lambda t: t + ".a",
        lambda t: "",
        lambda t: "客.户",
    ],
)
def test_a_spoilt_token_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput):
        read_token(SECRET, spoil(sign_token(SECRET, customer_id="c1", channel="email")))


def sign_first_kind(secret: bytes, *content: str) -> str:
    """As links were signed at first: customer and channel readable."""
    payload = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    signature = hmac.new(secret, b"aimwell unsubscribe 1\x00" + payload, hashlib.sha256).digest()
    parts = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, signature))
    return ".".join(parts)


def test_links_of_the_first_kind_still_work() -> None:
    token = sign_first_kind(SECRET, "客户", "sms")
    assert read_token(SECRET, token) == Unsubscribe("客户", "sms")
    for spoilt in (
        token[:-2],
        "x" + token,
        token + ".a",
        token.replace(".", ""),
        token * 100,
        "客.户",
        ".",
        "",
    ):
        with pytest.raises(BadInput):
            read_token(SECRET, spoilt)
    with pytest.raises(BadInput):
        read_token(b"another secret", token)


def test_the_payload_cannot_be_swapped() -> None:
    mine, yours = (sign_first_kind(SECRET, name, "email").split(".") for name in ("mine", "yours"))
    with pytest.raises(BadInput):
        read_token(SECRET, f"{yours[0]}.{mine[1]}")
    first, second = (sign_token(SECRET, customer_id=name, channel="email") for name in ("mine", "your"))
    for place in range(1, len(first)):
        if first[:place] + second[place:] not in (first, second):
            with pytest.raises(BadInput):
                read_token(SECRET, first[:place] + second[place:])


def test_nobody_can_read_who_is_meant() -> None:
    token = sign_token(
        SECRET, customer_id="13800138000", channel="email", language="zh", delivery_id="ab" * 32
    )
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert b"13800138000" not in raw and b"email" not in raw
    assert read_token(SECRET, token) == Unsubscribe("13800138000", "email", "zh", "ab" * 12)


def test_the_preference_centre_has_tokens_of_its_own() -> None:
    link = build_preferences_link(SECRET, customer_id="c1", language="zh", address="https://shop.example/")
    token = link.removeprefix("https://shop.example/preferences/")
    assert read_preferences_token(SECRET, token) == Unsubscribe("c1", "", "zh")
    with pytest.raises(BadInput):
        read_token(SECRET, token)


def test_the_secret_is_made_once_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIMWELL_SECRET", raising=False)
    first = load_secret(tmp_path)
    assert load_secret(tmp_path) == first and len(first) == 32
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_FILE]


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_SECRET", "0123456789abcdef0")
    assert load_secret(tmp_path) == b"0123456789abcdef0"
    assert not (tmp_path / SECRET_FILE).exists()
    monkeypatch.setenv("AIMWELL_SECRET", "short")
    with pytest.raises(BadInput):
        load_secret(tmp_path)


def test_the_link_starts_where_the_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", "https://shop.example/")
    link = build_link(SECRET, customer_id="c1", channel="email")
    assert link.startswith("https://shop.example/unsubscribe/")
    assert read_token(SECRET, link.rpartition("/")[2]).customer_id == "c1"
