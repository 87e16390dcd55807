"""Identifiers as they are shown to people who need not know them: enough to recognise, too little to misuse.

Reads and writes no table.
"""

from __future__ import annotations

_KEPT = {"phone": (3, 4), "address": (3, 0), "name": (1, 0)}


def mask_identifier(kind: str, value: str) -> str:
    """``value`` with its middle hidden: 138****8000, a***@example.com, 王**; four signs or fewer wholly hidden.

    >>> mask_identifier("phone", "+8613800138000")
    '+86138****8000'
    >>> mask_identifier("email", "alice@example.com")
    'a***@example.com'
    >>> mask_identifier("phone", "+6591234567")
    '+65****4567'
    """
    if kind == "email" and "@" in value:
        local, _, domain = value.rpartition("@")
        return f"{local[:1]}***@{domain}"
    if kind == "phone":
        return _mask_phone(value)
    head, tail = _KEPT.get(kind, (min(len(value) // 4, 2),) * 2)
    if kind == "name":
        return value[:1] + "*" * max(len(value) - 1, 1)
    if len(value) <= max(head + tail, 4):
        return "*" * max(len(value), 1)
    return value[:head] + "****" + (value[-tail:] if tail else "")


def _mask_phone(value: str) -> str:
    prefix, rest = (value[:3], value[3:]) if value.startswith("+") else ("", value)
    if len(rest) <= 7:
        return prefix + "*" * len(rest)
    # Four digits stay hidden in any country: of eight, three and four would leave one to guess.
    return f"{prefix}{rest[: min(len(rest) - 8, 3)]}****{rest[-4:]}"
