"""The address that bounces come back to: a different one for each delivery, signed, so that nobody can invent one.

``bounce@shop.example`` becomes ``bounce+<half of the delivery's id><signature>@shop.example``. Letters are lower-case
and digits from base 32: mail servers may fold case. Half an id (128 bits) names one delivery; the whole would be too
long for an address (64 characters before the @).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field

from aimwell.core.errors import BadInput
from aimwell.core.text import say

_PURPOSE = b"aimwell return path 1\x00"
_ID_BYTES = 16
_SIGNATURE_BYTES = 10
_TOKEN = 42
_ADDRESS = re.compile(r"[A-Za-z0-9._-]{1,20}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True)
class ReturnPath:
    """Makes and reads the addresses below ``mailbox``; ``secret`` signs them."""

    mailbox: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.mailbox):
            raise BadInput(
                "deployment.return_path",
                say("'{address}' cannot be the address for bounces.", address=self.mailbox),
                remedy=say("Use a plain address with at most 20 characters before the @."),
                where={"value": self.mailbox},
            )

    def address(self, delivery_id: str) -> str:
        """Where bounces of the delivery go; the mailbox itself when the id is none of the ledger's."""
        try:
            half = bytes.fromhex(delivery_id)[:_ID_BYTES]
        except ValueError:
            half = b""
        if len(half) < _ID_BYTES:
            return self.mailbox
        token = base64.b32encode(half + self._sign(half)).rstrip(b"=").decode("ascii").lower()
        local, _, domain = self.mailbox.rpartition("@")
        return f"{local}+{token}@{domain}"

    def read(self, address: str) -> str | None:
        """The first half of the delivery's id that ``address`` names, as hexadecimal; None when it is not ours."""
        local, _, domain = address.strip().strip("<>").lower().rpartition("@")
        own, _, own_domain = self.mailbox.lower().rpartition("@")
        name, _, token = local.rpartition("+")
        if (name, domain) != (own, own_domain) or len(token) != _TOKEN:
            return None
        try:
            raw = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
        except (ValueError, binascii.Error):
            return None
        half, signature = raw[:_ID_BYTES], raw[_ID_BYTES:]
        return half.hex() if hmac.compare_digest(signature, self._sign(half)) else None

    def _sign(self, half: bytes) -> bytes:
        return hmac.new(self.secret, _PURPOSE + half, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
