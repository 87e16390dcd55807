"""Signed unsubscribe links: whoever holds the link may end contact for that customer and channel, nobody else.

The token carries customer and channel and an HMAC-SHA-256 over both. The secret comes from AIMWELL_SECRET, else
from the workspace's file ``secret`` (made when first needed, readable by its owner only).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from urllib.parse import quote

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import say
from aimwell.engine.secret import SECRET_FILE, load_secret

__all__ = [
    "SECRET_FILE",
    "Unsubscribe",
    "build_link",
    "load_secret",
    "read_token",
    "require_address",
    "sign_token",
]

ADDRESS_VARIABLE = "AIMWELL_PUBLIC_URL"
_DEFAULT_ADDRESS = "https://localhost"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PURPOSE = b"aimwell unsubscribe 1\x00"


@dataclass(frozen=True)
class Unsubscribe:
    """What a valid token says."""

    customer_id: str
    channel: str


def sign_token(secret: bytes, *, customer_id: str, channel: str) -> str:
    """The token for one customer and channel: URL-safe text."""
    payload = json.dumps([customer_id, channel], ensure_ascii=False, separators=(",", ":")).encode()
    return f"{_encode(payload)}.{_encode(_authenticate(secret, payload))}"


def read_token(secret: bytes, token: str) -> Unsubscribe:
    """What ``token`` says; BadInput when it was not signed with ``secret``."""
    try:
        payload, signature = (_decode(part) for part in token.split("."))
        if hmac.compare_digest(signature, _authenticate(secret, payload)):
            customer_id, channel = json.loads(payload)
            return Unsubscribe(str(customer_id), str(channel))
    except (ValueError, binascii.Error):
        pass
    raise BadInput(
        "deployment.bad_token",
        say("The unsubscribe link is not valid."),
        remedy=say("Open the link of the message itself, whole."),
    )


def build_link(secret: bytes, *, customer_id: str, channel: str, address: str | None = None) -> str:
    """The one-click link. ``address`` is where the service is reached: AIMWELL_PUBLIC_URL when omitted."""
    base = (address or os.environ.get(ADDRESS_VARIABLE) or _DEFAULT_ADDRESS).rstrip("/")
    return f"{base}/unsubscribe/{quote(sign_token(secret, customer_id=customer_id, channel=channel))}"


def _authenticate(secret: bytes, payload: bytes) -> bytes:
    return hmac.new(secret, _PURPOSE + payload, hashlib.sha256).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def require_address(host: str) -> None:
    """NotReady when mail would leave this machine through ``host`` with links that lead nowhere."""
    if os.environ.get(ADDRESS_VARIABLE) or host in _LOOPBACK:
        return
    raise NotReady(
        "deployment.no_public_address",
        say("Mails would carry an unsubscribe link that leads nowhere."),
        remedy=say(
            "Set {variable} to the address where your unsubscribe page is reached.", variable=ADDRESS_VARIABLE
        ),
    )
