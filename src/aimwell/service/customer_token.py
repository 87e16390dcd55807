"""Tokens with which a signed-in customer reaches his own inbox: signed with the workspace's secret, ending soon.

A company's own server asks for one for a customer whom it knows, and hands it to that customer's browser or app. It
opens nothing of anybody else. Reads and writes no table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from aimwell.core.errors import NotAllowed
from aimwell.core.text import say
from aimwell.service.refusals import Refused

_PURPOSE = b"aimwell customer 1\x00"
_LONGEST = 2_000


def sign_customer(secret: bytes, customer_id: str, ends_ms: int) -> str:
    """The token for one customer until ``ends_ms``: URL-safe text."""
    payload = json.dumps([customer_id, ends_ms], ensure_ascii=False, separators=(",", ":")).encode()
    return f"{_encode(payload)}.{_encode(_authenticate(secret, payload))}"


def read_customer(secret: bytes, token: str, now_ms: int) -> str:
    """Whose token it is; Refused (401) where it is forged or over: nobody learns which."""
    try:
        payload, signature = (_decode(part) for part in token[:_LONGEST].split("."))
        if hmac.compare_digest(signature, _authenticate(secret, payload)):
            customer_id, ends_ms = json.loads(payload)
            if now_ms < ends_ms:
                return str(customer_id)
    except (ValueError, binascii.Error):
        pass
    problem = NotAllowed(
        "service.customer_token",
        say("The customer's token is not valid, or no longer."),
        remedy=say("Ask your server for a new one."),
    )
    raise Refused(problem, 401, ((b"www-authenticate", b'Bearer realm="aimwell inbox"'),))


def _authenticate(secret: bytes, payload: bytes) -> bytes:
    return hmac.new(secret, _PURPOSE + payload, hashlib.sha256).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
