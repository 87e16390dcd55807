from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, NotAllowed
from aimwell.deployment.channels.addresses import read_exemptions
from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.webhook import (
    HookSecret,
    RecentIds,
    WebhookChannel,
    build_hook,
    read_secrets,
    sign_hook,
    verify_hook,
)
from aimwell.deployment.sending import work
from tests.deployment.mails import compose
from tests.deployment.scene import count, fill, open_ledger, open_store
from tests.deployment.test_mime import MESSAGE
from tests.deployment.web_servers import Asked, Reply, serve_web

LOCAL = read_exemptions(["127.0.0.1"])
OLD, NEW, OTHER = (HookSecret(bytes([number]) * 32) for number in range(3))


def open_channel(url: str, *keys: HookSecret) -> WebhookChannel:
    return WebhookChannel(url, keys or (NEW,), Poster(LOCAL, timeout=30, reuse=True))


def deliver(url: str, *keys: HookSecret) -> Receipt:
    channel = open_channel(url, *keys)
    try:
        return channel.deliver(MESSAGE)
    finally:
        channel.finish()


def test_the_specifications_own_example() -> None:
    secret = HookSecret.read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = sign_hook("msg_p5jXN8AQM9LWM0D4loKWxJek", body, [secret], at=1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert verify_hook(headers, body, [secret], at=1614265330 + 299) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_a_receiver_verifies_what_arrives() -> None:
    with serve_web() as web:
        assert deliver(f"{web.url}/in") == Receipt(Outcome.SENT)
    asked = web.asked[0]
    assert verify_hook(asked.headers, asked.body, [NEW]) == MESSAGE.delivery_id
    data = json.loads(asked.body)
    assert data["data"]["text"] == MESSAGE.text and data["data"]["delivery_id"] == MESSAGE.delivery_id
    assert data["timestamp"].endswith("Z") and asked.headers["content-type"] == "application/json"


def test_while_one_secret_replaces_another_both_are_good() -> None:
    with serve_web() as web:
        deliver(web.url, NEW, OLD)
    asked = web.asked[0]
    for secret in (OLD, NEW):
        assert verify_hook(asked.headers, asked.body, [secret, OTHER]) == MESSAGE.delivery_id
    with pytest.raises(NotAllowed):
        verify_hook(asked.headers, asked.body, [OTHER])


@pytest.mark.parametrize("failure", ["says so", "says nothing"])
def test_a_receiver_that_rejects_repeats_gets_each_delivery_once(tmp_path: Path, failure: str) -> None:
    taken: list[str] = []
    fails = {"first": True}

    def answer(asked: Asked) -> Reply:
        hook_id = verify_hook(asked.headers, asked.body, [NEW])
        if hook_id not in taken:
            taken.append(hook_id)
        if fails.pop("first", False):
            if failure == "says nothing":
                raise ConnectionError("the answer is lost")
            return Reply(500)
        return Reply()

    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, [f"c{number}" for number in range(10)], channel="webhook")
    with serve_web(answer) as web:
        channel = open_channel(web.url)
        assert channel.promise is Promise.REJECTS_REPEATS
        work(ledger, plan_id="p1", channel_name="webhook", channel=channel, compose=compose)
    assert count(ledger) == {"sent": 10} and len(taken) == len(set(taken)) == 10
    assert len(web.asked) == 11


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(204), Receipt(Outcome.SENT)),
        (Reply(410), Receipt(Outcome.PERMANENT, "bad_recipient")),
        (Reply(400), Receipt(Outcome.PERMANENT, "rejected")),
        (Reply(307, b"", {"Location": "http://127.0.0.1:9/"}), Receipt(Outcome.PERMANENT, "redirected")),
        (
            Reply(429, b"", {"Retry-After": "7"}),
            Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=7.0),
        ),
        (Reply(502), Receipt(Outcome.TEMPORARY, "temporary_rejection")),
    ],
)
def test_answers(reply: Reply, expected: Receipt) -> None:
    with serve_web(lambda _: reply) as web:
        assert deliver(web.url) == expected


def test_an_internal_receiver_must_be_named() -> None:
    with serve_web() as web:
        channel = WebhookChannel(web.url, [NEW], Poster())
        assert channel.deliver(MESSAGE) == Receipt(Outcome.PERMANENT, "address_refused")
    assert web.asked == []


BODY = b'{"type":"x"}'
HEADERS = sign_hook("msg_1", BODY, [NEW], at=1000)


@pytest.mark.parametrize(
    ("changes", "body", "at"),
    [
        ({}, b'{"type":"y"}', 1000),
        ({}, BODY, 1301),
        ({}, BODY, 699),
        ({"webhook-id": "msg_2"}, BODY, 1000),
        ({"webhook-id": "msg_1.1000"}, BODY, 1000),
        ({"webhook-id": ""}, BODY, 1000),
        ({"webhook-id": "x" * 300}, BODY, 1000),
        ({"webhook-timestamp": "1001"}, BODY, 1000),
        ({"webhook-timestamp": "1e3"}, BODY, 1000),
        ({"webhook-timestamp": "٣"}, BODY, 1000),
        ({"webhook-timestamp": "9" * 400}, BODY, 1000),
        ({"webhook-timestamp": ""}, BODY, 1000),
        ({"webhook-signature": ""}, BODY, 1000),
        ({"webhook-signature": "v1,"}, BODY, 1000),
        ({"webhook-signature": "v1a," + HEADERS["webhook-signature"][3:]}, BODY, 1000),
        ({"webhook-signature": HEADERS["webhook-signature"][3:]}, BODY, 1000),
        ({"webhook-signature": "v1,é"}, BODY, 1000),
    ],
)
def test_what_is_forged_changed_or_old_is_refused(changes: dict[str, str], body: bytes, at: float) -> None:
    assert verify_hook(HEADERS, BODY, [NEW], at=1000) == "msg_1"
    with pytest.raises(NotAllowed) as caught:
        verify_hook({**HEADERS, **changes}, body, [NEW], at=at)
    assert caught.value.code == "deployment.hook_refused"


def test_without_any_secret_nothing_is_valid() -> None:
    with pytest.raises(NotAllowed):
        verify_hook(HEADERS, BODY, [], at=1000)


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=90), st.binary(max_size=60))
def test_no_made_up_headers_pass(hook_id: str, stamp: str, signature: str, body: bytes) -> None:
    headers = {"webhook-id": hook_id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}
    with pytest.raises(NotAllowed):
        verify_hook(headers, body, [NEW], at=0)


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=100), st.integers(0, 10**11))
def test_what_is_signed_verifies(key: bytes, body: bytes, at: int) -> None:
    secret = HookSecret(key)
    assert verify_hook(sign_hook("id", body, [OTHER, secret], at=at), body, [secret], at=at) == "id"


def test_a_report_that_comes_again_is_known() -> None:
    ids = RecentIds(most=3)
    assert [ids.add(name, at=10) for name in ("a", "b", "a", "c", "d", "b")] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert ids.add("a", at=10)  # forgotten, because only so many are kept


def test_secrets_are_read_and_not_shown() -> None:
    made = HookSecret.create()
    assert read_secrets(f"{made.show()}, {OLD.show()}") == (made, OLD)
    assert made.show()[6:] not in repr(made)
    short = base64.b64encode(b"short").decode()
    for bad in ("whsec_", "whsec_x", f"whsec_{short}", "whsec_***"):
        with pytest.raises(BadInput) as caught:
            read_secrets(bad)
        assert caught.value.code == "deployment.hook_secret"
        assert short not in str(caught.value.to_dict())


def test_a_text_that_cannot_be_written_is_still_sent() -> None:
    assert json.loads(build_hook(replace(MESSAGE, text="a\ud800b"), 0))["data"]["text"] == "a?b"
