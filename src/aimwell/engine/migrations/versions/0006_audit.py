"""The audit log as a chain of hashes. What it holds already becomes the chain's beginning."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = ("salt", "words", "hash")


def upgrade() -> None:
    """Apply."""
    gate = op.create_table(
        "audit_gate",
        sa.Column("gate", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("gate", name=op.f("pk_audit_gate")),
    )
    with op.batch_alter_table("audit_log") as table:
        table.add_column(sa.Column("salt", sa.String(length=32), nullable=True))
        table.add_column(sa.Column("words", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("hash", sa.String(length=64), nullable=True))
    entry, head = _hash_entries()
    op.bulk_insert(gate, [{"gate": 1, "entry": entry, "head": head}])
    with op.batch_alter_table("audit_log") as table:
        table.alter_column("words", existing_type=sa.String(length=64), nullable=False)
        table.alter_column("hash", existing_type=sa.String(length=64), nullable=False)
    if op.get_bind().dialect.name == "postgresql":
        # Numbers come from the gate from now on.
        op.execute("ALTER TABLE audit_log ALTER COLUMN entry DROP DEFAULT")
        op.execute("DROP SEQUENCE IF EXISTS audit_log_entry_seq")


def downgrade() -> None:
    """Undo: entries and their numbers stay, the hashes go."""
    with op.batch_alter_table("audit_log") as table:
        for name in _COLUMNS:
            table.drop_column(name)
    op.drop_table("audit_gate")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE audit_log_entry_seq OWNED BY audit_log.entry")
        op.execute(
            "SELECT setval('audit_log_entry_seq', COALESCE((SELECT MAX(entry) FROM audit_log), 0) + 1, false)"
        )
        op.execute("ALTER TABLE audit_log ALTER COLUMN entry SET DEFAULT nextval('audit_log_entry_seq')")


def _hash_entries() -> tuple[int, str]:
    """Number and hash of the last entry. The numbers become consecutive: rolled back entries had left gaps."""
    connection = op.get_bind()
    log = sa.table(
        "audit_log",
        *(sa.column(name) for name in ("entry", "at", "actor", "action", "subject", *_COLUMNS)),
        sa.column("detail", sa.JSON),
    )
    entry, head = 0, "0" * 64
    rows = connection.execute(sa.select(log).order_by(log.c.entry)).mappings().all()
    for row in rows:
        entry += 1
        salt = secrets.token_hex(16)
        words = _digest(salt, row["actor"], row["subject"], row["detail"])
        content = "\n".join((head, str(entry), row["at"], row["action"], words))
        head = hashlib.sha256(content.encode()).hexdigest()
        values = {"entry": entry, "salt": salt, "words": words, "hash": head}
        connection.execute(sa.update(log).where(log.c.entry == row["entry"]).values(**values))
    return entry, head


def _digest(salt: str, actor: str, subject: str, detail: Any) -> str:
    packed = json.dumps([actor, subject, detail], ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{salt}\n{packed}".encode()).hexdigest()
