"""Live decisions: whether they were shown, what other processes must know of each turn, and customers' profiles."""

from __future__ import annotations

from itertools import groupby

import sqlalchemy as sa
from alembic import op

from aimwell.engine.seen_ids import digest_ids, pack_digests

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("live_plans", sa.Column("closed_at", sa.String(length=32)))
    op.add_column("live_plans", sa.Column("swept_turn", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("live_decisions", sa.Column("state", sa.String(length=16)))
    op.create_table(
        "live_turns",
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.LargeBinary(), nullable=False),
        sa.Column("contacts", sa.LargeBinary(), nullable=False),
        sa.Column("released", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("batch", name=op.f("pk_live_turns")),
    )
    op.create_table(
        "live_profiles",
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("prior_contacts", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "customer_id", name=op.f("pk_live_profiles")),
        sqlite_with_rowid=False,
    )
    _bring_over()


def _bring_over() -> None:
    """Decisions that were made before: reserved, as they counted, and their turns."""
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE live_decisions SET state = 'reserved' WHERE action_id IS NOT NULL"))
    query = """
    SELECT d.batch, d.place, d.plan_id, p.day, d.at_ms, d.request_id, d.customer_id, d.action_id
    FROM live_decisions AS d JOIN live_plans AS p ON p.plan_id = d.plan_id
    ORDER BY d.batch, d.place
    """
    insert = sa.text(
        "INSERT INTO live_turns (batch, plan_id, day, at_ms, requests, contacts, released) "
        "VALUES (:batch, :plan_id, :day, :at_ms, :requests, :contacts, :released)"
    )
    found = connection.execute(sa.text(query)).all()
    for number, group in groupby(found, key=lambda row: row.batch):
        rows = list(group)
        # An erased person's place stays empty: a digest that nothing has.
        by_place = {row.place: row.request_id for row in rows}
        requests = [by_place.get(place, "") for place in range(rows[-1].place + 1)]
        contacts = [row.customer_id for row in rows if row.action_id is not None]
        connection.execute(
            insert,
            {
                "batch": number,
                "plan_id": rows[0].plan_id,
                "day": rows[0].day,
                "at_ms": rows[0].at_ms,
                "requests": pack_digests(digest_ids(requests)),
                "contacts": pack_digests(digest_ids(contacts)),
                "released": b"",
            },
        )


def downgrade() -> None:
    """Undo."""
    op.drop_table("live_profiles")
    op.drop_table("live_turns")
    for table, column in (
        ("live_decisions", "state"),
        ("live_plans", "swept_turn"),
        ("live_plans", "closed_at"),
    ):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
