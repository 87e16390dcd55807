"""Links by which a recipient ends contact or chooses what to receive: whoever holds one may do it, nobody else.

The token is sealed (``tracking.tokens``): it carries customer, channel, language and delivery, and shows none of them.
Its key follows from the workspace's secret (AIMWELL_SECRET, else the workspace's file ``secret``). Tokens of the
first kind, which were signed but readable, are still accepted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.deployment.tracking.address import ADDRESS_VARIABLE, find_base
from aimwell.deployment.tracking.keys import Keyring, Purpose
from aimwell.deployment.tracking.tokens import MOST_TOKEN, refuse_token, seal, unseal
from aimwell.engine.secret import SECRET_FILE, load_secret

__all__ = [
    "ADDRESS_VARIABLE",
    "SECRET_FILE",
    "Unsubscribe",
    "build_link",
    "build_preferences_link",
    "load_secret",
    "read_preferences_token",
    "read_token",
    "require_address",
    "sign_preferences_token",
    "sign_token",
]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_FIRST_KIND = b"aimwell unsubscribe 1\x00"


@dataclass(frozen=True)
class Unsubscribe:
    """What a valid token says. ``language`` and ``delivery_id`` are empty where the message named none."""

    customer_id: str
    channel: str
    language: str = ""
    delivery_id: str = ""


def sign_token(
    keys: Keyring | bytes, *, customer_id: str, channel: str, language: str = "", delivery_id: str = ""
) -> str:
    """The token for one customer and channel: URL-safe text. ``keys``: the ring, or a workspace's secret."""
    return _seal(keys, "unsubscribe", Unsubscribe(customer_id, channel, language, delivery_id))


def sign_preferences_token(
    keys: Keyring | bytes, *, customer_id: str, channel: str = "", language: str = "", delivery_id: str = ""
) -> str:
    """The token of one customer's preference centre."""
    return _seal(keys, "preferences", Unsubscribe(customer_id, channel, language, delivery_id))


def read_token(keys: Keyring | bytes, token: str) -> Unsubscribe:
    """What ``token`` says; BadInput when it was not made with one of ``keys``."""
    ring = _find_ring(keys)
    return _read_first_kind(ring, token) if "." in token else _unseal(ring, "unsubscribe", token)


def read_preferences_token(keys: Keyring | bytes, token: str) -> Unsubscribe:
    """The same for the preference centre."""
    return _unseal(_find_ring(keys), "preferences", token)


def build_link(
    keys: Keyring | bytes,
    *,
    customer_id: str,
    channel: str,
    language: str = "",
    delivery_id: str = "",
    address: str | None = None,
) -> str:
    """The one-click link. ``address`` is where the service is reached: AIMWELL_PUBLIC_URL when omitted."""
    token = sign_token(
        keys, customer_id=customer_id, channel=channel, language=language, delivery_id=delivery_id
    )
    return f"{find_base(address)}/unsubscribe/{token}"


def build_preferences_link(
    keys: Keyring | bytes,
    *,
    customer_id: str,
    channel: str = "",
    language: str = "",
    delivery_id: str = "",
    address: str | None = None,
) -> str:
    """The link to the customer's preference centre."""
    token = sign_preferences_token(
        keys, customer_id=customer_id, channel=channel, language=language, delivery_id=delivery_id
    )
    return f"{find_base(address)}/preferences/{token}"


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


def _find_ring(keys: Keyring | bytes) -> Keyring:
    return keys if isinstance(keys, Keyring) else Keyring.of(keys)


def _seal(keys: Keyring | bytes, purpose: Purpose, who: Unsubscribe) -> str:
    content = [who.customer_id, who.channel, who.language, who.delivery_id[:24]]
    while content and not content[-1]:
        content.pop()
    return seal(_find_ring(keys), purpose, content)


def _unseal(keys: Keyring, purpose: Purpose, token: str) -> Unsubscribe:
    content = unseal(keys, purpose, token)
    return Unsubscribe(*(content + [""] * (4 - len(content))))


def _read_first_kind(keys: Keyring, token: str) -> Unsubscribe:
    try:
        if len(token) <= MOST_TOKEN:
            payload, signature = (_decode(part) for part in token.split("."))
            for secret in keys.list_secrets():
                expected = hmac.new(secret, _FIRST_KIND + payload, hashlib.sha256).digest()
                if hmac.compare_digest(signature, expected):
                    found: list[Any] = json.loads(payload)
                    return Unsubscribe(str(found[0]), str(found[1]))
    except (ValueError, binascii.Error):
        pass
    raise refuse_token()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
