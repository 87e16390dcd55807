"""Identifiers: made sortable by time of creation, so that files and rows list in the order they were made; and the
one form of those that people and programs give."""

from __future__ import annotations

import secrets
import time

WIDE = "".join(map(chr, range(0xFF01, 0xFF5F))) + "\u3000"
"""Full-width forms (U+FF01–FF5E) and the ideographic space, as Chinese input methods write them."""
NARROW = "".join(map(chr, range(0x21, 0x7F))) + " "
"""The plain sign of each of ``WIDE``."""
_NARROWED = str.maketrans(WIDE, NARROW)


def new_id(kind: str) -> str:
    """A fresh id such as ``run_019a3c…``: the kind, 48 bits of milliseconds, 64 random bits."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


def fold_id(value: str) -> str:
    """A customer number without surrounding blanks, and with plain signs in place of full-width ones.

    Nothing else is folded (case, zeros, hyphens, superscripts): two numbers that differ by more stay two.

    >>> fold_id(" Ａ－１０００３　"), fold_id("a²")
    ('A-10003', 'a²')
    """
    return value.strip() if value.isascii() else value.translate(_NARROWED).strip()


def list_forms(value: str) -> list[str]:
    """The number as it stands, and folded: data that came before numbers were folded keep the signs they came with."""
    return list(dict.fromkeys((value, fold_id(value))))
