"""Identifiers: sortable by time of creation, so that files and rows list in the order they were made."""

from __future__ import annotations

import secrets
import time


def new_id(kind: str) -> str:
    """A fresh id such as ``run_019a3c…``: the kind, 48 bits of milliseconds, 64 random bits."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
