"""A segment as a file for one channel: who is in it, may be contacted there, and can be reached.

One reason leaves a customer out: suppressed, no consent, or no address; all three are counted, so that exported and
left out add up to the segment. The file opens in Excel as it is (UTF-8 with a byte-order mark), and no cell can be
taken for a formula. Reads segment_members, customers, consents and the store's ``live_members`` and suppressions;
writes one file and the audit log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa

from aimwell.analysis.live_members import read_live_members
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.spreadsheet import write_csv
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.workspace import Reader, Workspace

CHANNELS = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}
"""Channels that an export can be for, with the attribute that holds their address."""
_PHONE = re.compile(r"\+?[0-9][0-9 ().-]{4,20}")
_MEMBERS = """\
WITH latest AS (
{consents}
)
SELECT
    m.customer_id,
    c.{address} AS address,
    COALESCE(l.allowed, FALSE) AS allowed
FROM {members} AS m
LEFT JOIN customers AS c ON c.customer_id = m.customer_id
LEFT JOIN latest AS l ON l.customer_id = m.customer_id
ORDER BY m.customer_id"""


_ANALYSED = "(SELECT customer_id FROM segment_members WHERE segment = $segment AND left_on IS NULL)"
_LIVE = "members_now"


@dataclass(frozen=True)
class Exported:
    """What was written, and how many were left out for which reason."""

    path: str
    segment: str
    channel: str
    written: int
    suppressed: int
    without_consent: int
    without_address: int


def export_segment(
    workspace: Workspace,
    name: str,
    channel: str,
    path: Path,
    *,
    at: datetime | None = None,
    live: bool = False,
    actor: str | None = None,
) -> Exported:
    """Write the members of ``name`` who may be contacted through ``channel`` to the CSV file ``path``.

    Members are those of the last analysis; ``live``: as the worker has followed events since. Consent counts as it
    stands at the instant ``at`` (now when omitted). The file appears whole or not at all.
    BadInput when the channel has no address, or there is no such segment; the audit log holds counts, nobody's data.
    """
    if channel not in CHANNELS:
        raise BadInput(
            "analysis.no_export_channel",
            say("A segment cannot be exported for the channel '{channel}'.", channel=channel),
            remedy=say("Choose one of: {names}.", names=join_list(CHANNELS)),
            where={"value": channel},
        )
    with workspace.read() as reader:
        people = None
        if live:
            ids = read_live_members(workspace, reader, name)
            people = pa.table({"customer_id": pa.array(ids, pa.string())})
        members = _read_members(reader, name, channel, at or now(), people)
    with workspace.store.begin() as connection:
        suppressed = {
            one.customer_id for one in list_suppressions(connection) if one.channel in ("all", channel)
        }
    reachable: list[tuple[str, str]] = []
    counts = {"suppressed": 0, "without_consent": 0, "without_address": 0}
    for customer, address, allowed in members:
        reason = _find_reason(customer in suppressed, allowed, usable_address(channel, address))
        if reason is None:
            reachable.append((customer, str(address).strip()))
        else:
            counts[reason] += 1
    try:
        write_csv(path, ("customer_id", CHANNELS[channel]), reachable, quote_all=True)
    except OSError as error:
        raise BadInput(
            "analysis.cannot_write",
            say("The file {file} cannot be written.", file=str(path)),
            remedy=say("Choose a folder that exists and may be written to."),
            where={"file": str(path)},
        ) from error
    detail: dict[str, Any] = {"channel": channel, "written": len(reachable), **counts}
    workspace.store.audit("segment.exported", f"segment/{name}", detail, actor=actor)
    return Exported(str(path), name, channel, len(reachable), **counts)


def usable_address(channel: str, address: str | None) -> bool:
    """Whether a provider could do anything with it; the last word is the channel's."""
    text = (address or "").strip()
    if channel == "email":
        name, _, host = text.rpartition("@")
        return bool(name) and "." in host and not re.search(r"[\s,;<>]", text)
    return bool(_PHONE.fullmatch(text)) if channel in ("sms", "call") else bool(text)


def _read_members(
    reader: Reader, name: str, channel: str, at: datetime, people: pa.Table | None
) -> list[tuple[str, str | None, bool]]:
    known = reader.query("SELECT segment FROM segments ORDER BY segment").column("segment").to_pylist()
    if name not in known:
        raise BadInput(
            "analysis.unknown_segment",
            say("There is no segment '{name}'.", name=name),
            remedy=_suggest(name, known),
            where={"value": name},
        )
    consents = select_consents(purpose="marketing", any_refusal=True, where="channel = $channel")
    bound: dict[str, Any] = {"channel": channel, **bind_instant(at)}
    if people is None:
        bound["segment"] = name
    else:
        reader.register(_LIVE, people)
    chosen = _ANALYSED if people is None else _LIVE
    sql = _MEMBERS.format(consents=consents, address=CHANNELS[channel], members=chosen)
    table: pa.Table = reader.query(sql, bound)
    return [(row["customer_id"], row["address"], row["allowed"]) for row in table.to_pylist()]


def _suggest(name: str, known: list[str]) -> Text:
    if not known:
        return say("Compute the segments with: aimwell analysis run")
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return say("The nearest segments are: {names}.", names=join_list(near))
    return say("See which there are: aimwell analysis segments")


def _find_reason(is_suppressed: bool, allowed: bool, has_address: bool) -> str | None:
    if is_suppressed:
        return "suppressed"
    if not allowed:
        return "without_consent"
    return None if has_address else "without_address"
