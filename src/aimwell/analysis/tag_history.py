"""What tags were: a row of ``tag_history`` whenever the value of a tag that asks for it changed.

Computing a day again writes that day's rows anew; computing an earlier day forgets what lies after it.
Reads tags as they are and were, tag_history; writes tag_history.
"""

from __future__ import annotations

from collections.abc import Sequence

from aimwell.analysis.tag import Tag
from aimwell.analysis.tag_changes import Changes
from aimwell.analysis.tag_measuring import BEFORE
from aimwell.core.tables import Type
from aimwell.engine.sql_text import quote_name
from aimwell.engine.workspace import Run

_CHANGED = """\
SELECT t.customer_id, '{tag}' AS tag, {value} AS value, t.as_of AS since, t.run_id
FROM tags AS t
LEFT JOIN {before} AS b ON b.customer_id = t.customer_id{also}
WHERE {differs}"""
_LATEST = """\
SELECT h.customer_id, h.tag, h.value
FROM tag_history AS h
INNER JOIN (
    SELECT customer_id, tag, MAX(since) AS since
    FROM tag_history
    WHERE since < $as_of
    GROUP BY customer_id, tag
) AS l ON l.customer_id = h.customer_id AND l.tag = h.tag AND l.since = h.since"""
_KEPT = "SELECT * FROM tag_history WHERE since < $as_of"


def keep_history(run: Run, tags: Sequence[Tag], changes: Changes) -> None:
    """Add what changed by ``run.as_of``; empty values are no news before the first one is known."""
    if not tags:
        return
    bound = {"as_of": run.as_of}
    later = run.query("SELECT COUNT(*) AS n FROM tag_history WHERE since >= $as_of", bound)["n"][0].as_py()
    known = set(run.query("SELECT DISTINCT tag FROM tag_history").column("tag").to_pylist())
    # Built on the tags of an earlier day with the same definitions: they are the latest entries.
    quick = not changes.is_full and not later and all(tag.name in known for tag in tags)
    if not quick:
        run.register("tag_history_latest", run.query(_LATEST, bound))
    parts = [_render(tag, quick=quick) for tag in tags]
    news = run.query("\nUNION ALL\n".join(parts))
    if later:
        run.replace("tag_history", run.query(_KEPT, bound))
    run.append("tag_history", news)


def _render(tag: Tag, *, quick: bool) -> str:
    column = quote_name(tag.name)
    value = f"t.{column}" if tag.type is Type.TEXT else f"CAST(t.{column} AS VARCHAR)"
    was = "b.value"
    if quick:
        was = f"b.{column}" if tag.type is Type.TEXT else f"CAST(b.{column} AS VARCHAR)"
    differs = f"({value} IS NOT NULL AND {was} IS NULL) OR ({value} IS NULL AND {was} IS NOT NULL) OR {value} <> {was}"
    return _CHANGED.format(
        tag=tag.name,
        value=value,
        before=BEFORE if quick else "tag_history_latest",
        also="" if quick else f" AND b.tag = '{tag.name}'",
        differs=differs,
    )
