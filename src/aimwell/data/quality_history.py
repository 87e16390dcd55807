"""How quality develops: a snapshot of every check at each load, scores per wall and source, and their trend.

A wall's score is the mean credit of its checks: passed 1, notice .9, warning .5, error 0. Reads ``quality`` and
``quality_history``; the snapshot goes to ``quality_history``.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pyarrow as pa

from aimwell.core.tables import QUALITY_HISTORY, WALLS
from aimwell.data.findings import ask
from aimwell.data.quality_drift import Figures, Key
from aimwell.engine.session import Queryable

CREDIT = {"ok": 1.0, "notice": 0.9, "warning": 0.5, "error": 0.0}
MOST_LOADS = 12


def build_snapshot(quality: pa.Table, figures: dict[Key, Figures], *, at: datetime, run_id: str) -> pa.Table:
    """The rows that a load adds: one per check, and one per source and table with the figures for the next load."""
    rows = [
        {
            "checked_at": at,
            **{name: row[name] for name in ("source", "table_name", "column_name", "wall", "check_name")},
            "affected": row["affected"],
            "total": row["total"],
            "figures": json.dumps({"severity": row["severity"]}),
            "run_id": run_id,
        }
        for row in quality.to_pylist()
    ]
    rows += [
        {
            "checked_at": at,
            "source": source,
            "table_name": table,
            "column_name": None,
            "wall": "inaccurate",
            "check_name": "figures",
            "affected": 0,
            "total": found.rows,
            "figures": found.to_json(),
            "run_id": run_id,
        }
        for (source, table), found in figures.items()
    ]
    return QUALITY_HISTORY.build(rows)


def score_sources(findings: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Source → wall → score, checks, warnings, errors; walls without a check are left out."""
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for source in sorted({finding["source"] for finding in findings}):
        for wall in WALLS:
            severities = [
                finding["severity"]
                for finding in findings
                if finding["source"] == source and finding["wall"] == wall
            ]
            if severities:
                scores.setdefault(source, {})[wall] = _score(severities)
    return scores


def read_trend(reader: Queryable, *, source: str | None = None) -> list[dict[str, Any]]:
    """Per source and wall the scores of the last loads, oldest first, and what the last one changed."""
    rows = ask(
        reader,
        """
        SELECT checked_at, run_id, source, wall, figures FROM quality_history
        WHERE check_name <> 'figures' AND ($source IS NULL OR source = $source)
        ORDER BY source, wall, checked_at, run_id
        """,
        {"source": source},
    )
    loads: dict[tuple[str, str], dict[tuple[datetime, str], list[str]]] = {}
    for row in rows:
        load = loads.setdefault((row["source"], row["wall"]), {})
        severity = json.loads(row["figures"])["severity"]
        load.setdefault((row["checked_at"], row["run_id"]), []).append(severity)
    trend = []
    for (name, wall), found in loads.items():
        scores = [
            {"at": at.isoformat(timespec="seconds"), "score": _score(severities)["score"]}
            for (at, _), severities in sorted(found.items())[-MOST_LOADS:]
        ]
        change = scores[-1]["score"] - scores[-2]["score"] if len(scores) > 1 else 0.0
        trend.append({"source": name, "wall": wall, "scores": scores, "change": round(change, 6)})
    return sorted(trend, key=lambda row: (row["source"], WALLS.index(row["wall"])))


def _score(severities: list[str]) -> dict[str, Any]:
    return {
        "score": sum(CREDIT[severity] for severity in severities) / len(severities),
        "checks": len(severities),
        "warnings": severities.count("warning"),
        "errors": severities.count("error"),
    }
