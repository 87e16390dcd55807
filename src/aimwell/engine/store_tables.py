"""The store's own tables: runs, the warehouse's manifest, definitions, rounds, the audit log.

Instants are kept as ISO 8601 text in UTC (``Instant``), so that SQLite and PostgreSQL order and compare them alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA


class Instant(sa.types.TypeDecorator[datetime]):
    """A UTC instant as fixed-width ISO text; refuses naive values."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        """To ``2026-01-02T03:04:05.678901+00:00``."""
        return None if value is None else self.write(value)

    @staticmethod
    def write(value: datetime) -> str:
        """The text that is kept."""
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        """Back to an aware datetime."""
        return None if value is None else datetime.fromisoformat(value)


RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("code_version", sa.String(32), nullable=False),
    sa.Column("process", sa.String(128), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
)
TABLE_VERSIONS = sa.Table(
    "table_versions",
    METADATA,
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String(64), sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
TABLE_FILES = sa.Table(
    "table_files",
    METADATA,
    sa.Column("path", sa.String(255), primary_key=True),
    sa.Column("table_name", sa.String(64), nullable=False, index=True),
    sa.Column("added_in", sa.Integer, nullable=False),
    sa.Column("removed_in", sa.Integer),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
DEFINITIONS = sa.Table(
    "definitions",
    METADATA,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
ROUND_STEPS = sa.Table(
    "round_steps",
    METADATA,
    sa.Column("round_number", sa.Integer, primary_key=True),
    sa.Column("wave", sa.String(16), primary_key=True),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("finished_at", Instant, nullable=False),
)
AUDIT_LOG = sa.Table(
    "audit_log",
    METADATA,
    sa.Column("entry", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(255), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    # Empty once an erasure took words out of the entry: what stood there can then not be guessed from the digest.
    sa.Column("salt", sa.String(32)),
    # The digest of actor, subject and detail as they were written.
    sa.Column("words", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
"""Who did what: a chain of hashes (``engine.audit``)."""
AUDIT_GATE = sa.Table(
    "audit_gate",
    METADATA,
    sa.Column("gate", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
)
"""One row: number and hash of the newest entry. Whoever appends locks it."""
