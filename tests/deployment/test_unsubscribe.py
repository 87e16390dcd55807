from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.unsubscribe import (
    SECRET_FILE,
    Unsubscribe,
    build_link,
    load_secret,
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
        lambda t: t.replace(".", ""),
        lambda t: t + ".a",
        lambda t: "",
        lambda t: "客.户",
    ],
)
def test_a_spoilt_token_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput):
        read_token(SECRET, spoil(sign_token(SECRET, customer_id="c1", channel="email")))


def test_the_payload_cannot_be_swapped() -> None:
    mine, yours = (
        sign_token(SECRET, customer_id=name, channel="email").split(".") for name in ("mine", "yours")
    )
    with pytest.raises(BadInput):
        read_token(SECRET, f"{yours[0]}.{mine[1]}")


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
