"""What a centre delivers to us: receipts of what we sent, and messages that people sent. Reads and writes nothing else.

A receipt comes as optional parameters (receipted_message_id, message_state), or as text ("id:… stat:DELIVRD err:000"),
or both; then the parameters count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from aimwell.deployment.channels.smpp_pdu import (
    MESSAGE_STATE,
    NETWORK_ERROR_CODE,
    RECEIPT,
    RECEIPT_BITS,
    RECEIPTED_MESSAGE_ID,
    UDH_INDICATOR,
    ShortMessage,
)
from aimwell.deployment.channels.sms_coding import decode_sms, split_header

Status = Literal["delivered", "failed", "waiting", "unknown"]
_FIELD = re.compile(r"\b(id|stat|err)\s*:\s*([^\s]{1,64})", re.IGNORECASE)
_BY_WORD: dict[str, Status] = {
    "DELIVRD": "delivered",
    "EXPIRED": "failed",
    "DELETED": "failed",
    "UNDELIV": "failed",
    "REJECTD": "failed",
    "ACCEPTD": "waiting",
    "ENROUTE": "waiting",
    "SCHEDULED": "waiting",
}
_BY_NUMBER = {
    0: "SCHEDULED",
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}


@dataclass(frozen=True)
class SmsReport:
    """What became of a message that the centre took. ``code`` is the state in the centre's word, with its error."""

    message_id: str
    status: Status
    code: str


@dataclass(frozen=True)
class SmsReply:
    """A message from a person; of a long one each part comes by itself."""

    sender: str
    receiver: str
    text: str
    part: tuple[int, int, int] | None = None
    """(reference, number, total) of a part."""


def read_delivery(message: ShortMessage, *, decimal_ids: bool = False) -> SmsReport | SmsReply | None:
    """What a deliver_sm tells; None when it is a receipt that names no message.

    ``decimal_ids``: the centre answers with hexadecimal ids and reports with decimal ones.
    """
    if message.esm_class & RECEIPT_BITS == RECEIPT or RECEIPTED_MESSAGE_ID in message.parameters:
        return _read_receipt(message, decimal_ids=decimal_ids)
    header, octets = (
        split_header(message.octets) if message.esm_class & UDH_INDICATOR else (b"", message.octets)
    )
    text = decode_sms(message.coding, octets)
    return SmsReply(message.source, message.destination, text, _read_part(header))


def _read_receipt(message: ShortMessage, *, decimal_ids: bool) -> SmsReport | None:
    text = message.octets.decode("latin-1")
    told: dict[str, str] = {}
    for name, value in _FIELD.findall(text):
        told.setdefault(name.lower(), value)
    identity, state, error = told.get("id", ""), told.get("stat", "").upper(), told.get("err", "")
    if given := message.parameters.get(RECEIPTED_MESSAGE_ID):
        identity = given.rstrip(b"\0").decode("ascii", "replace")
    elif decimal_ids and identity.isdecimal():
        identity = f"{int(identity):x}"
    number = message.parameters.get(MESSAGE_STATE, b"")
    if len(number) == 1:
        state = _BY_NUMBER.get(number[0], "UNKNOWN")
    network = message.parameters.get(NETWORK_ERROR_CODE, b"")
    if len(network) == 3:
        error = str(int.from_bytes(network[1:], "big"))
    if not identity:
        return None
    harmless = not error.strip("0")
    code = state[:16] if harmless else f"{state[:16]} {error[:16]}"
    return SmsReport(normalise_id(identity), _BY_WORD.get(state, "unknown"), code)


def normalise_id(identity: str) -> str:
    """One form of a message's id: some centres write it once with zeros or capitals and once without."""
    return identity.strip().lower().lstrip("0")[:64] or "0"


def _read_part(header: bytes) -> tuple[int, int, int] | None:
    # Elements of a tag, a length and a value each; 0 is an 8-bit reference, 8 a 16-bit one.
    place = 1
    while place + 2 <= len(header):
        tag, length = header[place], header[place + 1]
        value = header[place + 2 : place + 2 + length]
        if (tag, len(value)) == (0, 3):
            return value[0], value[2], value[1]
        if (tag, len(value)) == (8, 4):
            return int.from_bytes(value[:2], "big"), value[3], value[2]
        place += 2 + length
    return None
