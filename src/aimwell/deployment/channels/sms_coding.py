"""An SMS as octets: GSM 03.38 or UCS-2, cut into parts that a handset puts together again.

Octets of the GSM alphabet are not packed: SMPP carries one septet in an octet, the centre packs them for the air. The
header of a part (3GPP TS 23.040, 9.2.3.24.1) takes six octets, for which 153 septets or 67 UTF-16 units are left; no
escaped character and no surrogate pair is cut in two. ``measure_sms`` counts what ``encode_sms`` makes.
"""

from __future__ import annotations

from dataclasses import dataclass

from aimwell.deployment.channels.sms import measure_sms

GSM_7 = 0x00
UCS_2 = 0x08
_ESCAPE = 0x1B
_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = {"\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F, "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40,
             "€": 0x65}  # fmt: skip
_OCTETS = {char: bytes((code,)) for code, char in enumerate(_BASIC) if code != _ESCAPE}
_OCTETS |= {char: bytes((_ESCAPE, code)) for char, code in _EXTENDED.items()}
_CHARACTERS = {octets: char for char, octets in _OCTETS.items()}
_PART = {GSM_7: 153, UCS_2: 134}
"""Octets of a part beside its header."""


@dataclass(frozen=True)
class Encoded:
    """A text as parts without their headers; one part has none."""

    coding: int
    parts: tuple[bytes, ...]


def encode_sms(text: str, *, always_ucs2: bool = False) -> Encoded:
    """``text`` as a centre takes it; ValueError for half a surrogate pair.

    >>> encode_sms("a€").parts, len(encode_sms("客" * 71).parts)
    ((b'a\\x1be',), 2)
    """
    if always_ucs2 or measure_sms(text).encoding == "UCS-2":
        return _cut(UCS_2, [char.encode("utf-16-be") for char in text], 140)
    return _cut(GSM_7, [_OCTETS[char] for char in text], 160)


def decode_sms(coding: int, octets: bytes) -> str:
    """What a handset or a centre wrote; what cannot be read becomes U+FFFD."""
    if coding == UCS_2:
        return octets.decode("utf-16-be", "replace")
    if coding == GSM_7:
        return _decode_gsm(octets)
    return octets.decode("latin-1" if coding == 0x03 else "ascii", "replace")


def number_part(octets: bytes, reference: int, number: int, total: int) -> bytes:
    """``octets`` behind the header that says: part ``number`` of ``total`` of the message ``reference`` (0–255)."""
    return bytes((5, 0, 3, reference, total, number)) + octets


def split_header(octets: bytes) -> tuple[bytes, bytes]:
    """(user data header, the rest) of a message whose esm_class says that it has one; a broken header is all text."""
    length = octets[0] + 1 if octets else 0
    return (octets[:length], octets[length:]) if 0 < length <= len(octets) else (b"", octets)


def _cut(coding: int, pieces: list[bytes], single: int) -> Encoded:
    whole = b"".join(pieces)
    if len(whole) <= single:
        return Encoded(coding, (whole,))
    parts, part = [], bytearray()
    for piece in pieces:
        if len(part) + len(piece) > _PART[coding]:
            parts.append(bytes(part))
            part.clear()
        part += piece
    return Encoded(coding, (*parts, bytes(part)))


def _decode_gsm(octets: bytes) -> str:
    characters, position = [], 0
    while position < len(octets):
        length = 2 if octets[position] == _ESCAPE else 1
        characters.append(_CHARACTERS.get(octets[position : position + length], "\ufffd"))
        position += length
    return "".join(characters)
