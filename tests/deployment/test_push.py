"""Web push, against a push service that checks the sender's token and a browser that decrypts by the RFC."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.channels.addresses import read_exemptions
from aimwell.deployment.channels.channel import Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.push import PushChannel, PushTerms, make_topic
from aimwell.deployment.channels.push_encryption import (
    MOST_PLAIN_BYTES,
    SenderKey,
    Subscription,
    decode_base64url,
    encode_base64url,
    encrypt,
)
from tests.deployment.test_mime import MESSAGE
from tests.deployment.tls import make_authority
from tests.deployment.web_servers import Asked, Reply, serve_web

LOCAL = read_exemptions(["127.0.0.1"])
CURVE = ec.SECP256R1()
BROWSER = ec.derive_private_key(int.from_bytes(b"browser", "big"), CURVE)
AUTH = b"0123456789abcdef"
KEY = SenderKey(ec.derive_private_key(int.from_bytes(b"sender", "big"), CURVE))
TERMS = PushTerms("mailto:push@shop.example", ttl=600, urgency="high")


def write_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def subscribe(endpoint: str) -> str:
    keys = {"p256dh": encode_base64url(write_point(BROWSER)), "auth": encode_base64url(AUTH)}
    return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys})


def decrypt(body: bytes, private: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """RFC 8291, section 3.4, step by step, with HMAC alone."""

    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, hashlib.sha256)

    salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
    key_id, sealed = body[21 : 21 + length], body[21 + length :]
    assert size == 4096 and length == 65 and len(sealed) <= size
    shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, key_id))
    info = b"WebPush: info\x00" + write_point(private) + key_id
    secret = mac(mac(auth, shared), info + b"\x01")
    extracted = mac(salt, secret)
    key = mac(extracted, b"Content-Encoding: aes128gcm\x00\x01")[:16]
    nonce = mac(extracted, b"Content-Encoding: nonce\x00\x01")[:12]
    padded = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
    assert padded.endswith(b"\x02")
    return padded[:-1]


def read_private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decode_base64url(text), "big"), CURVE)


def test_the_example_of_the_rfc() -> None:
    """RFC 8291, section 5 and appendix A."""
    receiver = read_private("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")
    own = read_private("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
    auth = decode_base64url("BTBZMqHH6r4Tts7J_aSIgg")
    subscription = Subscription("https://push.example/1", receiver.public_key(), auth)
    plain = b"When I grow up, I want to be a watermelon"
    sealed = encrypt(plain, subscription, own=own, salt=decode_base64url("DGv6ra1nlYgDCS1FRnbzlw"))
    assert encode_base64url(sealed) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert decrypt(sealed, receiver, auth) == plain


@given(st.binary(max_size=MOST_PLAIN_BYTES))
def test_whatever_is_encrypted_is_read_by_the_browser_alone(plain: bytes) -> None:
    subscription = Subscription.read(subscribe("https://push.example/1"))
    sealed = encrypt(plain, subscription)
    # Nothing in the padding of our one record: trailing zeros of the message stay.
    assert decrypt(sealed, BROWSER, AUTH) == plain
    assert len(sealed) <= 4096 and sealed != encrypt(plain, subscription)


def deliver(endpoint: str, message: Message = MESSAGE, *, recipient: str | None = None) -> Receipt:
    channel = PushChannel(KEY, TERMS, Poster(LOCAL, timeout=30))
    return channel.deliver(replace(message, recipient=recipient or subscribe(endpoint)))


def check_token(authorization: str, audience: str) -> None:
    scheme, _, rest = authorization.partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    head, claims, signature = fields["t"].split(".")
    raw = decode_base64url(signature)
    key = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, decode_base64url(fields["k"]))
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    said = json.loads(decode_base64url(claims))
    assert scheme == "vapid" and json.loads(decode_base64url(head)) == {"typ": "JWT", "alg": "ES256"}
    assert said["aud"] == audience and said["sub"] == TERMS.subject
    assert 0 < said["exp"] - time.time() <= 24 * 3600
    assert fields["k"] == KEY.public


def test_a_notification_arrives_in_the_browser() -> None:
    with serve_web(lambda _: Reply(201, b"", {"Location": "/message/7"})) as web:
        message = replace(MESSAGE, details={"link": "https://shop.example/c/1"})
        assert deliver(f"{web.url}/push/abc", message) == Receipt(Outcome.SENT, provider_id="/message/7")
    asked = web.asked[0]
    check_token(asked.headers["authorization"], web.url)
    headers = {name: asked.headers[name] for name in ("ttl", "urgency", "content-encoding", "topic")}
    assert headers == {
        "ttl": "600", "urgency": "high", "content-encoding": "aes128gcm", "topic": make_topic(MESSAGE.delivery_id),
    }  # fmt: skip
    assert json.loads(decrypt(asked.body, BROWSER, AUTH)) == {
        "title": MESSAGE.subject, "body": MESSAGE.text, "url": "https://shop.example/c/1", "tag": MESSAGE.delivery_id,
    }  # fmt: skip


def test_over_tls_as_in_the_world(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    with serve_web(
        lambda _: Reply(201), name="push.example", context=authority.serve_as("push.example")
    ) as web:
        poster = Poster(LOCAL, ca_file=authority.file, resolve=lambda *_: ["127.0.0.1"])
        channel = PushChannel(KEY, TERMS, poster)
        message = replace(MESSAGE, recipient=subscribe(f"{web.url}/x"))
        assert channel.deliver(message).outcome is Outcome.SENT
    check_token(web.asked[0].headers["authorization"], web.url)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(404), Receipt(Outcome.PERMANENT, "bad_recipient")),
        (Reply(410), Receipt(Outcome.PERMANENT, "bad_recipient")),
        (Reply(413), Receipt(Outcome.PERMANENT, "content_error")),
        (Reply(403), Receipt(Outcome.PERMANENT, "rejected")),
        (
            Reply(429, b"", {"Retry-After": "120"}),
            Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=120.0),
        ),
        (
            Reply(503, b"", {"Retry-After": "5"}),
            Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=5.0),
        ),
        (Reply(500), Receipt(Outcome.UNKNOWN, "connection_lost")),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/"}), Receipt(Outcome.PERMANENT, "redirected")),
    ],
)
def test_what_a_push_service_says(reply: Reply, expected: Receipt) -> None:
    with serve_web(lambda _: reply) as web:
        assert deliver(web.url) == expected


@pytest.mark.parametrize(
    "recipient",
    [
        "", "null", "[]", "{}", "x", "[" * 50_000, '{"endpoint":"https://a.example","keys":{}}',
        '{"endpoint":"https://a.example","keys":{"p256dh":"BA","auth":"BA"}}',
        '{"endpoint":7,"keys":{"p256dh":"é","auth":[]}}',
        subscribe("https://push.example/1").replace(encode_base64url(write_point(BROWSER))[:9], "B" + "_" * 8),
    ],
)  # fmt: skip
def test_what_is_no_subscription_is_a_bad_recipient(recipient: str) -> None:
    channel = PushChannel(KEY, TERMS, Poster())
    receipt = channel.deliver(replace(MESSAGE, recipient=recipient))
    assert receipt == Receipt(Outcome.PERMANENT, "bad_recipient")


@pytest.mark.parametrize(
    "endpoint", ["https://10.0.0.1/push", "https://localhost/", "http://127.0.0.1:80/", "file:///x"]
)
def test_a_subscription_cannot_make_us_speak_to_our_own_network(endpoint: str) -> None:
    channel = PushChannel(KEY, TERMS, Poster())
    receipt = channel.deliver(replace(MESSAGE, recipient=subscribe(endpoint)))
    assert receipt == Receipt(Outcome.PERMANENT, "address_refused")


def test_a_text_that_is_too_long_is_not_sent() -> None:
    with serve_web() as web:
        assert deliver(web.url, replace(MESSAGE, text="字" * 1400)).code == "content_error"
    assert web.asked == []


def test_one_token_serves_a_push_service_for_half_a_day() -> None:
    now = [1_000_000.0]
    tokens: list[str] = []

    def answer(asked: Asked) -> Reply:
        tokens.append(asked.headers["authorization"])
        return Reply(201)

    with serve_web(answer) as web:
        channel = PushChannel(KEY, TERMS, Poster(LOCAL), clock=lambda: now[0])
        message = replace(MESSAGE, recipient=subscribe(web.url))
        for later in (0.0, 3600.0, 11 * 3600.0, -20 * 3600.0):
            now[0] += later
            assert channel.deliver(message).outcome is Outcome.SENT
    assert len(tokens) == 4 and tokens[0] == tokens[1] and len(set(tokens)) == 3
    assert channel.promise is Promise.BLIND


def test_keys_are_read_and_not_shown() -> None:
    pem = KEY.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    raw = encode_base64url(KEY.key.private_numbers().private_value.to_bytes(32, "big"))
    assert SenderKey.read(pem).public == SenderKey.read(raw).public == KEY.public
    assert len(decode_base64url(KEY.public)) == 65
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for bad in ("", "AAAA", "é", "-----BEGIN x", other.decode(), "_" * 43):
        with pytest.raises(BadInput):
            SenderKey.read(bad)
    assert (
        repr(KEY) == "SenderKey()"
        and repr(Subscription.read(subscribe("https://a.example/secret"))) == "Subscription()"
    )


def test_topics_fit() -> None:
    assert len(make_topic("ab" * 32)) == 32 and len(make_topic("no hexadecimal id")) <= 32
