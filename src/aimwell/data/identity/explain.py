"""Why two records are one person, or why not, in words: the chain of links between them, each with its evidence.

Reads ``identity_links`` and ``identifiers``; writes nothing.
"""

from __future__ import annotations

import json
from typing import Any

from aimwell.core.masking import mask_identifier
from aimwell.core.text import Text, say
from aimwell.data.findings import ask
from aimwell.data.identity.comparisons import COMPARISONS, compare_other
from aimwell.data.identity.likeness import name_level
from aimwell.data.identity.log import Entry, find_path, order, read_entries, replay, settle
from aimwell.data.identity.step import check_records
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace


def explain(workspace: Workspace, one: str, other: str, *, reveal: bool = False) -> dict[str, Any]:
    """Whether two records are one person, and the links from one to the other with their reasons in both languages.

    Identifiers are masked; with ``reveal`` they are whole, and the audit log says who looked at whom.
    BadInput when a record is not known.
    """
    with workspace.read() as reader:
        check_records(reader, one, other)
        entries = read_entries(ask(reader, "SELECT * FROM identity_links ORDER BY decided_at, link_id"))
        state = settle(entries)
        joined, used = replay(state)
        together = joined.get(one, one) == joined.get(other, other)
        path = (find_path(used, one, other) or []) if together else []
        links = [_describe(reader, entry, reveal) for entry in path]
    if reveal:
        record_look(workspace, "explain", {"customer_id": one, "other_customer_id": other})
    forbidden = order(one, other) in state.forbidden
    return {
        "left": one,
        "right": other,
        "together": together,
        "customer": joined.get(one, one) if together else None,
        "verdict": _conclude(one, other, together, forbidden, len(path)).both(),
        "links": links,
        "history": [
            {
                "verdict": entry.verdict,
                "method": entry.method,
                "probability": entry.probability,
                "decided_at": entry.decided_at.isoformat(),
            }
            for entry in entries
            if entry.pair == order(one, other)
        ],
    }


def record_look(workspace: Workspace, page: str, records: dict[str, str] | None = None) -> None:
    """Say in the audit log that whole identifiers were shown, and whose, which an erasure takes out again."""
    workspace.store.audit("identity.revealed", page, dict(records or {}))


def _conclude(one: str, other: str, together: bool, forbidden: bool, steps: int) -> Text:
    if together and steps == 1:
        return say("'{one}' and '{other}' are one person by a direct link.", one=one, other=other)
    if together:
        return say(
            "'{one}' and '{other}' are one person through {steps} links.", one=one, other=other, steps=steps
        )
    if forbidden:
        return say("'{one}' and '{other}' were split by a person and stay apart.", one=one, other=other)
    return say("'{one}' and '{other}' are not joined.", one=one, other=other)


def _describe(reader: Queryable, entry: Entry, reveal: bool) -> dict[str, Any]:
    evidence = json.loads(entry.evidence)
    reasons = {
        "deterministic": lambda: _tell_identifiers(reader, entry, evidence.get("kinds", []), reveal),
        "probabilistic": lambda: _tell_likeness(entry, evidence),
        "person": lambda: [say("somebody said so")],
    }[entry.method]()
    return {
        "left": entry.left,
        "right": entry.right,
        "method": entry.method,
        "probability": entry.probability,
        "decided_at": entry.decided_at.isoformat(),
        "evidence": evidence,
        "reasons": [text.both() for text in reasons],
    }


def _tell_identifiers(reader: Queryable, entry: Entry, kinds: list[str], reveal: bool) -> list[Text]:
    rows = ask(
        reader,
        """
        SELECT DISTINCT a.kind, a.value FROM identifiers AS a JOIN identifiers AS b
        ON a.kind = b.kind AND a.value = b.value
        WHERE a.record_id = $one AND b.record_id = $other AND a.usable AND b.usable ORDER BY a.kind, a.value
        """,
        {"one": entry.left, "other": entry.right},
    )
    shown = [
        say(
            "both have the {kind} {value}",
            kind=name_kind(row["kind"]),
            value=row["value"] if reveal else mask_identifier(row["kind"], row["value"]),
        )
        for row in rows
        if row["kind"] in kinds
    ]
    # The values may have been corrected or erased since; what joined the records then is still known by kind.
    told = {row["kind"] for row in rows}
    return shown + [
        say("both had the same {kind}", kind=name_kind(kind)) for kind in kinds if kind not in told
    ]


def _tell_likeness(entry: Entry, evidence: dict[str, Any]) -> list[Text]:
    texts = [say("alike with a probability of {probability}", probability=f"{entry.probability:.1%}")]
    for part in sorted(evidence.get("comparisons", []), key=lambda part: -abs(part["bits"])):
        name, level = part["comparison"], part["level"]
        others = (compare_other(name),) if name.startswith("other_") else ()
        one = name_level((*COMPARISONS, *others), name, level)
        if one is None:
            continue
        words = (
            one.levels[len(one.levels) - level].words
            if level
            else say("{what} differs", what=name_comparison(name))
        )
        texts.append(say("{words} ({bits} bits)", words=words, bits=f"{part['bits']:+.1f}"))
    return texts


def name_kind(kind: str) -> Text:
    """The kind of identifier in words."""
    names = {
        "phone": say("phone number"),
        "email": say("e-mail address"),
        "openid": say("openid"),
        "unionid": say("union id"),
        "member": say("member number"),
        "device": say("device"),
        "id_number": say("ID number"),
        "anonymous": say("anonymous id"),
    }
    return names.get(kind.split(":")[0], Text(kind))


def name_comparison(name: str) -> Text:
    """What is compared, in words."""
    names = {
        "given_name": say("the given name"),
        "family_name": say("the family name"),
        "birth_date": say("the birth date"),
        "place": say("the place"),
        "street": say("the address"),
        "id_number": say("the ID number"),
        "phone": say("the phone number"),
        "email": say("the e-mail address"),
    }
    return names.get(name, say("another attribute"))
