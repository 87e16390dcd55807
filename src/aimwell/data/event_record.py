"""Puts a file of events on record beside all other files, and lets go of rejects that it repaired.

A reject is repaired when its message arrives whole (known by its ``messageId``), or when the file of its name comes
again without it. Reads and writes ``sources`` and ``rejects``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from aimwell.core.errors import Conflict
from aimwell.core.time import business_day, now
from aimwell.data.loading import record_source
from aimwell.engine.workspace import Workspace

_ATTEMPTS = 5


@dataclass
class Waiting:
    """The rejects of a source before a file is read: by the message's own id, and those of the same file."""

    source: str
    file: str
    by_message: dict[str, str] = field(default_factory=dict)
    of_file: set[str] = field(default_factory=set)
    repaired: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, workspace: Workspace, source: str, path: Path) -> Waiting:
        """What waits in ``rejects``."""
        found = cls(source, path.name)
        sql = "SELECT reject_id, file, record FROM rejects WHERE source = $source"
        with workspace.read() as reader:
            for row in reader.query(sql, {"source": source}).to_pylist():
                record = json.loads(row["record"])
                if isinstance(record, dict) and record.get("messageId") is not None:
                    found.by_message[str(record["messageId"]).strip()] = row["reject_id"]
                if row["file"] == path.name:
                    found.of_file.add(row["reject_id"])
        return found

    def note(self, message_id: str, *, is_whole: bool) -> None:
        """A message came: whole, or with something that was set aside under its id."""
        if not is_whole:
            self.refused.add(f"{self.source}:{message_id}")
        elif message_id in self.by_message:
            self.repaired.add(self.by_message[message_id])

    @property
    def settled(self) -> Set[str]:
        """The rejects that go."""
        return (self.repaired | self.of_file) - self.refused


def record_file(workspace: Workspace, waiting: Waiting, counts: Mapping[str, int], encoding: str) -> None:
    """One row of ``sources`` for the file, in place of an earlier one; settled rejects go.

    Conflict after five tries.
    """
    for attempt in range(_ATTEMPTS):
        try:
            _record(workspace, waiting, counts, encoding)
            return
        except Conflict:
            # The worker moves hot rejects into files meanwhile.
            if attempt == _ATTEMPTS - 1:
                raise


def _record(workspace: Workspace, waiting: Waiting, counts: Mapping[str, int], encoding: str) -> None:
    at = now()
    reading: dict[str, object] = {"format": "events", "duplicates": counts["duplicate"]}
    if waiting.settled:
        reading["repaired"] = sorted(waiting.settled)
    row = {
        "source": waiting.source,
        "table_name": "events",
        "file": waiting.file,
        "encoding": encoding,
        "rows": sum(counts.values()),
        "accepted": counts["accepted"] + counts["duplicate"],
        "rejected": counts["rejected"],
        "reading": json.dumps(reading, ensure_ascii=False),
        "loaded_at": at,
    }
    with workspace.run("data", as_of=business_day(at, workspace.settings.business.zone)) as run:
        record_source(run, {**row, "run_id": run.id})
        if waiting.settled:
            run.register("settled", pa.table({"reject_id": pa.array(sorted(waiting.settled), pa.string())}))
            run.replace(
                "rejects",
                run.query(
                    "SELECT * FROM rejects AS r WHERE NOT EXISTS ("
                    "SELECT 1 FROM settled AS s WHERE s.reject_id = r.reject_id)"
                ),
            )
