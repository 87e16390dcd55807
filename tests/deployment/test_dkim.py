from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.channels.dkim import Signer, load_signer, sign_mail
from aimwell.deployment.channels.mime import build_mail
from tests.deployment.test_mime import MESSAGE, SENDER


def to_pem(key: rsa.RSAPrivateKey | Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


RSA = load_signer(to_pem(rsa.generate_private_key(65537, 2048)), domain="shop.example", selector="r1")
ED = load_signer(to_pem(Ed25519PrivateKey.generate()), domain="shop.example", selector="e1")


def verify(mail: bytes, index: int, *signers: Signer) -> bool:
    records = {
        f"{one.selector}._domainkey.{one.domain}.".encode(): one.describe_record().encode() for one in signers
    }

    def look_up(name: bytes | str, timeout: int = 5) -> bytes | None:
        return records.get(name if isinstance(name, bytes) else name.encode())

    try:
        return bool(dkim.DKIM(mail).verify(idx=index, dnsfunc=look_up))
    except dkim.ValidationError:
        return False


@pytest.fixture(autouse=True)
def _provide_ed25519(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier asks PyNaCl for Ed25519; here the same arithmetic comes from ``cryptography``."""
    nacl, signing, encoding, exceptions = (
        ModuleType(name) for name in ("nacl", "nacl.signing", "nacl.encoding", "nacl.exceptions")
    )

    class VerifyKey:
        def __init__(self, text: bytes, encoder: object) -> None:
            import base64

            self.key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text))

        def verify(self, data: bytes, signature: bytes) -> bytes:
            self.key.verify(signature, data)
            return data

    signing.VerifyKey = VerifyKey  # type: ignore[attr-defined]
    encoding.Base64Encoder = object  # type: ignore[attr-defined]
    exceptions.BadSignatureError = InvalidSignature  # type: ignore[attr-defined]
    exceptions.ValueError = ValueError  # type: ignore[attr-defined]
    nacl.signing, nacl.encoding, nacl.exceptions = signing, encoding, exceptions  # type: ignore[attr-defined]
    for module in (nacl, signing, encoding, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(dkim, "nacl", nacl, raising=False)


def test_an_independent_verifier_accepts_both_kinds() -> None:
    mail = sign_mail(build_mail(MESSAGE, SENDER), [RSA, ED])
    assert mail.count(b"DKIM-Signature:") == 2
    assert verify(mail, 0, RSA, ED)
    assert verify(mail, 1, RSA, ED)
    assert max(len(line) for line in mail.split(b"\r\n")) <= 998


def test_another_key_is_not_accepted() -> None:
    other = load_signer(to_pem(rsa.generate_private_key(65537, 2048)), domain="shop.example", selector="r1")
    assert not verify(sign_mail(build_mail(MESSAGE, SENDER), [RSA]), 0, other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\r\nFrom: ", b"\r\nFrom: Mallory "),
        (b"\r\nTo: ", b"\r\nTo: a@evil.example, "),
        (b"unsubscribe/abc", b"unsubscribe/abd"),
        (b"One-Click", b"No-Click"),
        (b"\r\nMIME-Version", b"\r\nSubject: second\r\nMIME-Version"),
        (b"\r\nMIME-Version", b"\r\nFrom: x@y.example\r\nMIME-Version"),
        (b"--\r\n", b"--\r\nmore"),
    ],
)
def test_what_is_changed_on_the_way_is_noticed(old: bytes, new: bytes) -> None:
    mail = b"X-Before: 1\r\n" + build_mail(MESSAGE, SENDER)
    signed = sign_mail(mail, [RSA])
    assert old in signed
    assert verify(signed, 0, RSA)
    assert not verify(new.join(signed.rsplit(old, 1)), 0, RSA)


def test_what_relays_may_change_is_not_noticed() -> None:
    mail = sign_mail(b"From: a@shop.example\r\nSubject: a  b\t c\r\n\r\none  two \r\n\r\n\r\n", [RSA])
    changed = mail.replace(b"Subject: a  b\t c", b"SUBJECT:   a b\r\n\tc  ").replace(
        b"one  two ", b"one \t two"
    )
    assert verify(mail, 0, RSA) and verify(changed, 0, RSA)


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(max_size=60),
    subject=st.text(max_size=120),
    text=st.text(st.characters(codec="utf-8"), max_size=300),
    html=st.sampled_from(["", "<p>您好</p>"]),
)
def test_any_mail_verifies(name: str, subject: str, text: str, html: str) -> None:
    message = replace(MESSAGE, name=name, subject=subject, text=text, html=html)
    assert verify(sign_mail(build_mail(message, SENDER), [RSA]), 0, RSA)


@settings(max_examples=60, deadline=None)
@given(body=st.lists(st.sampled_from([b"", b" ", b"a", b"a \t b", b"\t", b". ", b"  x"]), max_size=8))
def test_any_body_verifies(body: list[bytes]) -> None:
    mail = b"From: a@shop.example\r\nSubject: s\r\n\r\n" + b"".join(line + b"\r\n" for line in body)
    assert verify(sign_mail(mail, [RSA]), 0, RSA)


def test_a_key_is_not_shown() -> None:
    secret = RSA.key.private_numbers().d if isinstance(RSA.key, rsa.RSAPrivateKey) else 0
    assert secret and str(secret) not in repr(RSA) and "PrivateKey" not in repr(RSA)
    with pytest.raises(BadInput) as caught:
        load_signer(b"-----BEGIN PRIVATE KEY-----\nMIIsecret\n", domain="a.example", selector="s")
    assert caught.value.code == "deployment.dkim_key" and "MIIsecret" not in str(caught.value.to_dict())


def test_other_kinds_of_keys_and_odd_names_are_refused() -> None:
    with pytest.raises(BadInput):
        load_signer(to_pem(ec.generate_private_key(ec.SECP256R1())), domain="a.example", selector="s")
    with pytest.raises(BadInput) as caught:
        load_signer(b"", domain="a.example; b=", selector="s")
    assert caught.value.code == "deployment.dkim_name"


def test_without_a_signer_the_mail_stays_as_it_is() -> None:
    mail = build_mail(MESSAGE, SENDER)
    assert sign_mail(mail, []) is mail
