"""Tokens: what we signed reads back, and nothing else does."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.tracking.keys import (
    Generation,
    Keyring,
    Purpose,
    load_keyring,
    read_former_secrets,
    rotate_keys,
)
from aimwell.deployment.tracking.tokens import (
    Click,
    identify_link,
    read_click,
    read_delivery,
    seal,
    sign_click,
    sign_delivery,
    unseal,
)
from tests.deployment.scene import open_store
from tests.deployment.tracking.scene import RING, SECRET, identify

TARGET = "https://shop.example/p?id=1"
PURPOSES: tuple[Purpose, ...] = ("click", "open", "trap", "visit", "unsubscribe", "preferences", "form")
DELIVERIES = st.text("0123456789abcdef", min_size=64, max_size=64)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(delivery=DELIVERIES, place=st.integers(0, 255), path=st.text("abc/?&=", max_size=30))
def test_a_click_reads_back_and_is_short(delivery: str, place: int, path: str) -> None:
    target = "https://shop.example/" + path
    token = sign_click(RING, delivery, target, place)
    assert read_click(RING, token) == Click(delivery[:24], identify_link(target), place)
    assert len(token) == 52


@given(data=st.data(), delivery=DELIVERIES)
def test_a_token_with_one_sign_changed_is_refused(data: st.DataObject, delivery: str) -> None:
    token = sign_click(RING, delivery, TARGET, 0)
    place = data.draw(st.integers(0, len(token) - 1))
    sign = data.draw(st.sampled_from(ALPHABET.replace(token[place], "")))
    with pytest.raises(BadInput):
        read_click(RING, token[:place] + sign + token[place + 1 :])


@given(token=st.one_of(st.text(max_size=100), st.text(ALPHABET, min_size=52, max_size=52)))
def test_what_anybody_writes_is_refused(token: str) -> None:
    for read in (read_click, lambda ring, text: unseal(ring, "form", text)):
        with pytest.raises(BadInput):
            read(RING, token)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token[:20],
        lambda token: "",
        lambda token: token + "A",
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: token * 10_000,
        lambda token: "\udcff" + token[1:],
        lambda token: token.replace(token[0], "客", 1),
        lambda token: token + "\x00",
        lambda token: base64.urlsafe_b64encode(b"\xff\xfe" * 20).decode(),
    ],
)
def test_a_spoilt_token_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    token = sign_click(RING, identify(), TARGET, 1)
    sealed = seal(RING, "form", ["c1"])
    for given_, read in ((token, read_click), (sealed, lambda ring, text: unseal(ring, "form", text))):
        with pytest.raises(BadInput) as caught:
            read(RING, spoil(given_))
        assert caught.value.code == "deployment.bad_token"


@pytest.mark.parametrize("made", PURPOSES)
@pytest.mark.parametrize("used", PURPOSES)
def test_a_token_serves_one_purpose(made: Purpose, used: Purpose) -> None:
    signed, sealed = sign_delivery(RING, made, identify()), seal(RING, made, ["c1", "email"])
    if made == used:
        assert read_delivery(RING, used, signed).delivery == identify()[:24]
        assert unseal(RING, used, sealed) == ["c1", "email"]
        return
    for read, token in ((read_delivery, signed), (unseal, sealed)):
        with pytest.raises(BadInput):
            read(RING, used, token)


def test_another_workspaces_token_is_refused() -> None:
    other = Keyring.of(b"another workspace's secret")
    with pytest.raises(BadInput):
        read_click(other, sign_click(RING, identify(), TARGET, 0))
    with pytest.raises(BadInput):
        unseal(other, "unsubscribe", seal(RING, "unsubscribe", ["c1"]))


def test_parts_of_two_tokens_make_no_third() -> None:
    mine, yours = (
        base64.urlsafe_b64decode(sign_click(RING, identify(name), TARGET, 0)) for name in ("mine", "yours")
    )
    mixed = base64.urlsafe_b64encode(yours[:-16] + mine[-16:]).decode()
    with pytest.raises(BadInput):
        read_click(RING, mixed)


@given(customer=st.text(st.characters(codec="utf-8"), min_size=4))
def test_a_sealed_token_shows_nobody(customer: str) -> None:
    token = seal(RING, "unsubscribe", [customer, "email"])
    assert unseal(RING, "unsubscribe", token) == [customer, "email"]
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert customer.encode() not in raw and b"email" not in raw


def test_a_deliverys_id_must_be_one() -> None:
    for wrong in ("d1", "G" * 64, "a" * 63, "a" * 65, "\n" + "a" * 63):
        with pytest.raises(ValueError):
            sign_click(RING, wrong, TARGET, 0)


def test_former_keys_count_until_their_time_is_over() -> None:
    now = [1_000.0]
    first = Generation(SECRET)
    token = sign_click(Keyring(first), identify(), TARGET, 0)
    rotated = Keyring(
        Generation(SECRET, 2), former=(Generation(SECRET, 1, until_ms=2_000_000),), clock=lambda: now[0]
    )
    assert read_click(rotated, token).place == 0
    assert sign_click(rotated, identify(), TARGET, 0) != token
    now[0] = 2_000.0
    with pytest.raises(BadInput):
        read_click(rotated, token)
    assert read_click(rotated, sign_click(rotated, identify(), TARGET, 3)).place == 3


def test_rotation_is_kept_in_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    day = 86_400_000
    with store.begin() as connection:
        before = load_keyring(connection, SECRET)
        token = seal(before, "unsubscribe", ["c1"])
        assert rotate_keys(connection, now_ms=10**15, keep_days=400) == 2
        assert rotate_keys(connection, now_ms=10**15 + day, keep_days=60) == 3
        after = load_keyring(connection, SECRET)
    assert unseal(after, "unsubscribe", token) == ["c1"]
    fresh = seal(after, "unsubscribe", ["c1"])
    assert fresh != token
    with pytest.raises(BadInput):
        unseal(before, "unsubscribe", fresh)


@pytest.mark.parametrize(
    ("setting", "works"),
    [
        ("0123456789abcdef-old@2999-01-01", True),
        ("other@2999-01-01 0123456789abcdef-old@2999-01-01", True),
        ("0123456789abcdef-old@2001-01-01", False),
        ("other@2999-01-01", False),
        ("", False),
    ],
)
def test_a_former_secret_is_named_with_its_last_day(
    setting: str, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = sign_click(Keyring.of(b"0123456789abcdef-old"), identify(), TARGET, 7)
    monkeypatch.setenv("AIMWELL_FORMER_SECRETS", setting)
    with open_store(tmp_path).begin() as connection:
        ring = load_keyring(connection, b"the new secret of the workspace")
    if works:
        assert read_click(ring, signed).place == 7
        return
    with pytest.raises(BadInput):
        read_click(ring, signed)


def test_a_former_secret_of_a_file_is_written_as_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytes(range(32))
    monkeypatch.setenv("AIMWELL_FORMER_SECRETS", f"{raw.hex()}@2999-01-01")
    assert [secret for secret, _ in read_former_secrets()] == [raw]


@pytest.mark.parametrize("setting", ["secret", "secret@soon", "@2027-01-01"])
def test_a_former_secret_without_a_day_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_FORMER_SECRETS", setting)
    with pytest.raises(BadInput) as caught:
        read_former_secrets()
    assert caught.value.code == "deployment.bad_former_secret"
    assert "secret@soon" not in caught.value.render()


def test_keys_of_purposes_and_generations_differ() -> None:
    keys = {Generation(SECRET, number).derive(purpose) for number in (1, 2) for purpose in PURPOSES}
    assert len(keys) == 2 * len(PURPOSES) and SECRET not in keys
