"""Erased people stay erased: keyed digests of their records, and the filter that loading asks.

Whoever asks to be erased must not come back with the next delivery of the same file, and whoever must not be contacted
must not become reachable under a new number. So the digests of their record ids, and of the contacts of those who were
suppressed, are kept: HMAC-SHA-256 by the workspace's secret, of which nobody can tell the person without both the
secret and the id. Reads ``erasures``; writes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.engine.manifest import read_version
from aimwell.engine.secret import load_secret
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run, Workspace

_PURPOSE = b"aimwell erasure 1\x00"
CONTACTS = ("email", "phone")
_NUMBER = re.compile(r"[+(]?[0-9][-0-9 ().]{6,20}")


def filter_erased(run: Run, data: pa.Table) -> pa.Table:
    """``data`` (typed rows with a ``customer_id``, or none) without the rows of erased people.

    Contacts of erased people who must not be contacted are left empty in the rows of others. Costs nothing until
    somebody was erased.
    """
    if "customer_id" not in data.column_names:
        return data
    known = _read_digests(run)
    if not known:
        return data
    secret = load_secret(run.warehouse_folder.parent)
    if known.get("record"):
        gone = find_erased(pc.unique(data["customer_id"]).to_pylist(), known["record"], "record", secret)
        if gone:
            data = data.filter(
                pc.invert(pc.is_in(data["customer_id"], pa.array(gone, data["customer_id"].type)))
            )
    for name in CONTACTS:
        if known.get(name) and name in data.column_names:
            data = _empty_contacts(data, name, known[name], secret)
    return data


def find_erased(values: Iterable[str | None], digests: set[str], kind: str, secret: bytes) -> list[str]:
    """Those of ``values`` whose digest is known."""
    return [value for value in values if value and digest(secret, kind, value) in digests]


def digest(secret: bytes, kind: str, value: str) -> str:
    """HMAC-SHA-256 of the value in its one form, 64 hexadecimal digits (RFC 2104)."""
    text = value if kind == "record" else normalise_contact(value)
    return hmac.new(secret, _PURPOSE + f"{kind}\x00{text}".encode(), hashlib.sha256).hexdigest()


def normalise_contact(value: str) -> str:
    """One form of a contact in all its spellings: case and width folded; of a number its digits, without 86.

    >>> normalise_contact("+86 138-0013-8000"), normalise_contact("Ａnn@Example.com ")
    ('13800138000', 'ann@example.com')
    """
    text = unicodedata.normalize("NFKC", value).casefold().strip()
    if not _NUMBER.fullmatch(text):
        return text
    digits = "".join(char for char in text if char.isdigit()).removeprefix("00")
    return digits.removeprefix("86") if len(digits) == 13 else digits


def _read_digests(run: Queryable) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in run.query("SELECT kind, digest FROM erasures").to_pylist():
        found.setdefault(row["kind"], set()).add(row["digest"])
    return found


@dataclass(frozen=True)
class Erased:
    """Who was erased, for those who take in single messages; ``version`` of ``erasures`` says since when it holds."""

    version: int = 0
    known: Mapping[str, set[str]] = field(default_factory=dict)
    secret: bytes = b""

    def tell(self, value: str, *kinds: str) -> bool:
        """Whether ``value`` is what one of ``kinds`` was erased as."""
        return any(
            kind in self.known and digest(self.secret, kind, value) in self.known[kind] for kind in kinds
        )

    def tell_any(self, packed: object) -> bool:
        """Whether a text anywhere in this JSON value is a record or a contact of somebody who was erased."""
        stack = [packed] if self.known else []
        while stack:
            value = stack.pop()
            if isinstance(value, dict):
                stack += value.values()
            elif isinstance(value, list):
                stack += value
            elif isinstance(value, str | int) and value and self.tell(str(value).strip(), "record", "trace"):
                return True
        return False


_ERASED: WeakKeyDictionary[Workspace, Erased] = WeakKeyDictionary()


def load_erased(workspace: Workspace, *, anew: bool = False) -> Erased:
    """Who was erased, as this process last read it (``anew``: as it is now)."""
    found = _ERASED.get(workspace)
    if found is None or anew:
        with workspace.store.snapshot() as connection:
            version = read_version(connection, "erasures")
        found = Erased()
        if version:
            # Read after the version: rows that are newer make whoever uses them look once more.
            with workspace.read() as reader:
                found = Erased(version, _read_digests(reader), load_secret(workspace.path))
        _ERASED[workspace] = found
    return found


def _empty_contacts(data: pa.Table, name: str, digests: set[str], secret: bytes) -> pa.Table:
    column = data[name]
    gone = find_erased(pc.unique(column).to_pylist(), digests, name, secret)
    if not gone:
        return data
    emptied = pc.if_else(pc.is_in(column, pa.array(gone, column.type)), pa.scalar(None, column.type), column)
    return data.set_column(data.column_names.index(name), name, emptied)


def filter_rejects(run: Run, rejects: pa.Table) -> pa.Table:
    """``rejects`` without the rows in which a cell is an erased person's record id, e-mail or phone."""
    known = _read_digests(run)
    if not known or not rejects.num_rows:
        return rejects
    secret = load_secret(run.warehouse_folder.parent)
    judged: dict[str, bool] = {}
    kept = [
        not _mentions(json.loads(record), known, secret, judged) for record in rejects["record"].to_pylist()
    ]
    return rejects.filter(pa.array(kept, pa.bool_()))


def _mentions(
    record: dict[str, Any], known: dict[str, set[str]], secret: bytes, judged: dict[str, bool]
) -> bool:
    cells = [value for value in record.values() if isinstance(value, str) and value]
    for value in cells:
        if value not in judged:
            judged[value] = any(
                digest(secret, kind, value) in known.get(kind, ()) for kind in ("record", "trace")
            )
    return any(judged[value] for value in cells)
