"""Encryption of web push messages (RFC 8291, content encoding aes128gcm of RFC 8188) and sender's tokens (RFC 8292).

The push service in between reads nothing: each message is encrypted for the keys that the customer's browser made.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from aimwell.core.errors import BadInput
from aimwell.core.text import say

MOST_PLAIN_BYTES = 3993
"""What is left for the message of the 4,096 bytes that every push service takes."""

_RECORD = 4096
_POINT = 65
_AUTH = 16
_SALT = 16
_CURVE = ec.SECP256R1()


@dataclass(frozen=True)
class Subscription:
    """Where one browser takes messages, and with which keys. Whoever knows it can write to the customer."""

    endpoint: str = field(repr=False)
    public_key: ec.EllipticCurvePublicKey = field(repr=False)
    auth: bytes = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Subscription:
        """What a browser's ``PushSubscription.toJSON()`` gives; ValueError when it is anything else."""
        try:
            given = json.loads(text)
            endpoint, keys = given["endpoint"], given["keys"]
            point, auth = decode_base64url(keys["p256dh"]), decode_base64url(keys["auth"])
        except (KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
            raise ValueError("this is no push subscription") from error
        if not isinstance(endpoint, str) or len(auth) != _AUTH or len(point) != _POINT:
            raise ValueError("this is no push subscription")
        return cls(endpoint, ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point), auth)


@dataclass(frozen=True)
class SenderKey:
    """The key by which push services know us; browsers subscribe with its public half."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def read(cls, text: str) -> SenderKey:
        """PEM, or the 32 bytes of the private key in URL-safe base 64; BadInput when it is neither."""
        try:
            if "-----BEGIN" in text:
                key = load_pem_private_key(text.encode(), password=None)
            else:
                key = ec.derive_private_key(int.from_bytes(decode_base64url(text.strip()), "big"), _CURVE)
        except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadInput(
                "deployment.push_key",
                say("The key for web push is not usable: it must be an EC key on the curve P-256."),
                remedy=say("Make one with: openssl ecparam -genkey -name prime256v1 -noout."),
            )
        return cls(key)

    @property
    def public(self) -> str:
        """What a page gives the browser as ``applicationServerKey``."""
        return encode_base64url(_write_point(self.key.public_key()))

    def make_token(self, *, audience: str, subject: str, expires: int) -> str:
        """A JWT, signed with ES256, that says who we are to the push service ``audience``."""
        head = _write_json({"typ": "JWT", "alg": "ES256"})
        claims = _write_json({"aud": audience, "exp": expires, "sub": subject})
        signed = f"{head}.{claims}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{encode_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def encrypt(
    plain: bytes,
    subscription: Subscription,
    *,
    own: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """``plain`` for the browser of ``subscription``; ValueError when it is too long.

    ``own`` and ``salt`` are drawn anew for each message; a message of a test gives them.
    """
    if len(plain) > MOST_PLAIN_BYTES:
        raise ValueError("the message is too long for web push")
    own = own or ec.generate_private_key(_CURVE)
    salt = salt or os.urandom(_SALT)
    theirs, ours = _write_point(subscription.public_key), _write_point(own.public_key())
    shared = own.exchange(ec.ECDH(), subscription.public_key)
    secret = _derive(shared, subscription.auth, b"WebPush: info\x00" + theirs + ours, 32)
    key = _derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
    # The one record is the last: its padding begins with 2.
    sealed = AESGCM(key).encrypt(nonce, plain + b"\x02", None)
    return salt + _RECORD.to_bytes(4, "big") + bytes([len(ours)]) + ours + sealed


def encode_base64url(raw: bytes) -> str:
    """URL-safe base 64 without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """What ``encode_base64url`` made, with or without padding; ValueError otherwise."""
    bare = text.rstrip("=").encode("ascii")
    return base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def _write_point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _write_json(value: dict[str, str | int]) -> str:
    return encode_base64url(json.dumps(value, separators=(",", ":")).encode())
