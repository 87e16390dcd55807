"""What the declarations of tables share: short names of the types, value sets, the columns that many have."""

from __future__ import annotations

from aimwell.core.table import Column, Type

T, N, R, M = Type.TEXT, Type.INTEGER, Type.REAL, Type.MONEY
B, D, AT, J = Type.BOOLEAN, Type.DATE, Type.INSTANT, Type.JSON

CHANNELS = ("email", "sms", "push", "wechat", "call", "mail", "web", "ad")
SLOTS = ("morning", "afternoon", "evening")
ARMS = ("treatment", "control", "holdout")
WALLS = ("unavailable", "partial", "inaccurate", "unusable")
RUN = Column("run_id", T, "the run that wrote the row")
SIMULATED = Column("simulated", B, "true when the market simulator made the outcome")
