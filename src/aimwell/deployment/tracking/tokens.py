"""What stands in a link: short signed tokens that name a delivery, and sealed ones that name a customer.

A *signed* token is readable and cannot be changed: one byte names the key, then the delivery (12 bytes of its id), for
a click the link (9 bytes of its target's digest) and its place in the message, then HMAC-SHA-256 cut to 128 bits. It
names no customer. A *sealed* token (AES-SIV, RFC 5297, a 128-bit tag) can neither be read nor changed: it carries the
customer. Each purpose has a key of its own, so that no token serves for another. Reads and writes no table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.deployment.tracking.keys import Keyring, Purpose

MOST_TOKEN = 2_000
"""Signs of the longest token that is looked at."""
_MAC = 16
_DELIVERY = 12
_LINK = 9
_DELIVERY_ID = re.compile("[0-9a-f]{64}")
_TEXT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Click:
    """What a token says: ``delivery`` is the beginning of the delivery's id; a click has a link and a place, too."""

    delivery: str
    link_id: str = ""
    place: int = 0


@lru_cache(maxsize=4096)
def identify_link(target: str) -> str:
    """The id of a link's target: 18 hexadecimal digits."""
    return hashlib.sha256(target.encode()).hexdigest()[: 2 * _LINK]


def sign_click(keys: Keyring, delivery_id: str, target: str, place: int) -> str:
    """The token of one link of one delivery; ``place`` counts the links of the message from 0."""
    payload = _pack_delivery(delivery_id) + bytes.fromhex(identify_link(target)) + bytes([min(place, 255)])
    return _sign(keys, "click", payload)


def read_click(keys: Keyring, token: str) -> Click:
    """What a click's token says; BadInput when we did not sign it."""
    payload = _verify(keys, "click", token, _DELIVERY + _LINK + 1)
    return Click(
        payload[:_DELIVERY].hex(), payload[_DELIVERY : _DELIVERY + _LINK].hex(), payload[_DELIVERY + _LINK]
    )


def sign_delivery(keys: Keyring, purpose: Purpose, delivery_id: str) -> str:
    """A token that names only a delivery: of its pixel, its hidden link, or a visit that a click led to."""
    return _sign(keys, purpose, _pack_delivery(delivery_id))


def read_delivery(keys: Keyring, purpose: Purpose, token: str) -> Click:
    """What such a token says; BadInput when we did not sign it for this purpose."""
    return Click(_verify(keys, purpose, token, _DELIVERY).hex())


def seal(keys: Keyring, purpose: Purpose, content: Any) -> str:
    """``content`` (what JSON can carry) as text that tells nothing and cannot be changed."""
    name, key = keys.sign_with(purpose)
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return _encode(name + AESSIV(key).encrypt(packed, [purpose.encode()]))


def unseal(keys: Keyring, purpose: Purpose, token: str) -> Any:
    """What ``seal`` was given; BadInput when it did not make this token for this purpose."""
    raw = _decode(token)
    for key in keys.verify_with(purpose, raw[:1]):
        try:
            # RFC 5297: the tag is compared in constant time.
            return json.loads(AESSIV(key).decrypt(raw[1:], [purpose.encode()]))
        except (InvalidTag, ValueError):
            continue
    raise refuse_token()


def refuse_token() -> BadInput:
    """The error of every token that is not ours; it does not say what is wrong with it."""
    return BadInput(
        "deployment.bad_token",
        say("The link is not valid."),
        remedy=say("Open the link of the message itself, whole."),
    )


def _pack_delivery(delivery_id: str) -> bytes:
    if not _DELIVERY_ID.fullmatch(delivery_id):
        raise ValueError("a delivery's id has 64 hexadecimal digits")
    return bytes.fromhex(delivery_id[: 2 * _DELIVERY])


def _sign(keys: Keyring, purpose: Purpose, payload: bytes) -> str:
    name, key = keys.sign_with(purpose)
    return _encode(name + payload + _authenticate(key, payload))


def _verify(keys: Keyring, purpose: Purpose, token: str, size: int) -> bytes:
    raw = _decode(token)
    payload, mac = raw[1:-_MAC], raw[-_MAC:]
    if len(raw) == 1 + size + _MAC:
        for key in keys.verify_with(purpose, raw[:1]):
            if hmac.compare_digest(mac, _authenticate(key, payload)):
                return payload
    raise refuse_token()


def _authenticate(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:_MAC]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(token: str) -> bytes:
    """The bytes of a token in the one way of writing them; BadInput for any other."""
    if len(token) <= MOST_TOKEN and _TEXT.fullmatch(token):
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise refuse_token() from None
        if hmac.compare_digest(_encode(raw), token):
            return raw
    raise refuse_token()
