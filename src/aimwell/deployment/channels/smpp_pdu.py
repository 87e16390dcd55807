"""The packets of SMPP 3.4 that a sender needs, to octets and back. Reads and writes nothing else.

A packet is a header of four numbers (length, command, status, sequence), fixed fields, and optional parameters of a
tag, a length and a value each. What comes from the other side is read within fixed bounds: ``BadPacket`` means that
nothing after it can be trusted. Commands and statuses are those of "Short Message Peer to Peer Protocol Specification
v3.4", 5.1.2.1 and 5.1.3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

HEADER = struct.Struct(">IIII")
_TAG = struct.Struct(">HH")
MOST_OCTETS = 70_000
"""A packet holds a message_payload of at most 64 KB; whoever announces more speaks something else."""
RESPONSE = 0x80000000

GENERIC_NACK = 0x80000000
BIND_TRANSCEIVER = 0x00000009
SUBMIT_SM = 0x00000004
DELIVER_SM = 0x00000005
UNBIND = 0x00000006
ENQUIRE_LINK = 0x00000015

ESME_ROK = 0x00000000
ESME_RINVCMDID = 0x00000003
ESME_RINVBNDSTS = 0x00000004
ESME_RSYSERR = 0x00000008
ESME_RINVDSTADR = 0x0000000B
ESME_RMSGQFUL = 0x00000014
ESME_RSUBMITFAIL = 0x00000045
ESME_RTHROTTLED = 0x00000058
ESME_RX_T_APPN = 0x00000064

UDH_INDICATOR = 0x40
RECEIPT_BITS = 0x3C
RECEIPT = 0x04

RECEIPTED_MESSAGE_ID = 0x001E
MESSAGE_STATE = 0x0427
NETWORK_ERROR_CODE = 0x0423
MESSAGE_PAYLOAD = 0x0424
USER_MESSAGE_REFERENCE = 0x0204


class BadPacket(ValueError):
    """What came is no packet of SMPP 3.4."""


@dataclass(frozen=True)
class Packet:
    """One packet; ``body`` are the octets after the header."""

    command: int
    status: int
    sequence: int
    body: bytes = b""

    def encode(self) -> bytes:
        """The octets that go over the wire."""
        return HEADER.pack(16 + len(self.body), self.command, self.status, self.sequence) + self.body


@dataclass(frozen=True)
class ShortMessage:
    """The body of submit_sm and deliver_sm. ``octets`` are the text, from the payload where it has one."""

    source: str
    destination: str
    octets: bytes
    coding: int = 0
    esm_class: int = 0
    registered: int = 0
    source_ton: int = 0
    source_npi: int = 0
    destination_ton: int = 1
    destination_npi: int = 1
    service_type: str = ""
    validity: str = ""
    in_payload: bool = False
    parameters: Mapping[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The body; ValueError when a field does not fit."""
        if not self.in_payload and len(self.octets) > 254:
            raise ValueError("a short message has at most 254 octets")
        head = b"".join(
            (
                encode_text(self.service_type, 6),
                bytes((self.source_ton, self.source_npi)),
                encode_text(self.source, 21),
                bytes((self.destination_ton, self.destination_npi)),
                encode_text(self.destination, 21),
                bytes((self.esm_class, 0, 0)),
                b"\0",
                encode_text(self.validity, 17),
                bytes((self.registered, 0, self.coding, 0)),
            )
        )
        text = b"\0" if self.in_payload else bytes((len(self.octets),)) + self.octets
        parameters = dict(self.parameters)
        if self.in_payload:
            parameters[MESSAGE_PAYLOAD] = self.octets
        return head + text + encode_parameters(parameters)


def read_header(octets: bytes) -> tuple[int, int, int, int]:
    """(length, command, status, sequence); BadPacket when the length cannot be one."""
    length, command, status, sequence = HEADER.unpack(octets)
    if not 16 <= length <= MOST_OCTETS:
        raise BadPacket("the length of a packet is out of bounds")
    return length, command, status, sequence


def encode_text(value: str, room: int) -> bytes:
    """A C-octet string that fits into ``room`` octets with its closing zero; ValueError when it does not."""
    octets = value.encode("ascii")
    if len(octets) >= room or 0 in octets:
        raise ValueError("a field of the packet does not fit")
    return octets + b"\0"


def encode_parameters(parameters: Mapping[int, bytes]) -> bytes:
    """Optional parameters in the order of their tags."""
    return b"".join(_TAG.pack(tag, len(value)) + value for tag, value in sorted(parameters.items()))


def read_message_id(body: bytes) -> str:
    """The id of submit_sm_resp; empty where the centre left it out."""
    return body.split(b"\0", 1)[0].decode("ascii", "replace")[:64]


def read_short_message(body: bytes) -> ShortMessage:
    """The body of submit_sm or deliver_sm; BadPacket when it is cut off."""
    reader = _Reader(body)
    service_type = reader.take_text(6)
    source_ton, source_npi = reader.take(2)
    source = reader.take_text(21)
    destination_ton, destination_npi = reader.take(2)
    destination = reader.take_text(21)
    esm_class, _, _ = reader.take(3)
    reader.take_text(17)
    validity = reader.take_text(17)
    registered, _, coding, _ = reader.take(4)
    octets = reader.take(reader.take(1)[0])
    parameters = reader.take_parameters()
    payload = parameters.get(MESSAGE_PAYLOAD)
    return ShortMessage(
        source=source,
        destination=destination,
        octets=octets or payload or b"",
        coding=coding,
        esm_class=esm_class,
        registered=registered,
        source_ton=source_ton,
        source_npi=source_npi,
        destination_ton=destination_ton,
        destination_npi=destination_npi,
        service_type=service_type,
        validity=validity,
        in_payload=not octets and payload is not None,
        parameters=parameters,
    )


class _Reader:
    """Takes fields from the front of a body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def take(self, count: int) -> bytes:
        """So many octets."""
        taken = self._body[self._place : self._place + count]
        if len(taken) < count:
            raise BadPacket("a packet ends within a field")
        self._place += count
        return taken

    def take_text(self, room: int) -> str:
        """A C-octet string. What is longer than the standard allows is read all the same, up to 255 octets."""
        end = self._body.find(b"\0", self._place, self._place + max(room, 255))
        if end < 0:
            raise BadPacket("a text in a packet has no end")
        return self.take(end + 1 - self._place)[:-1].decode("ascii", "replace")

    def take_parameters(self) -> dict[int, bytes]:
        """All that is left, as tag → value."""
        found = {}
        while self._place < len(self._body):
            tag, length = _TAG.unpack(self.take(4))
            found[tag] = self.take(length)
        return found
