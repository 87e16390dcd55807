"""What tags were: a row of ``tag_history`` whenever the value of a tag that asks for it changed.

Computing a day again writes that day's rows anew; computing an earlier day forgets what lies after it.
Reads tags, tag_history; writes tag_history.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from aimwell.analysis.aligned import mark_changes
from aimwell.analysis.tag import Tag
from aimwell.analysis.tag_changes import Changes
from aimwell.core.tables import Type
from aimwell.engine.sql_text import quote_name
from aimwell.engine.workspace import Run

News = dict[str, list[pa.Table]]
"""By tag, the customers for whom it changed, with the new ``value``."""
_LATEST = """\
SELECT h.customer_id, h.tag, h.value
FROM tag_history AS h
INNER JOIN (
    SELECT customer_id, tag, MAX(since) AS since
    FROM tag_history
    WHERE since < $as_of
    GROUP BY customer_id, tag
) AS l ON l.customer_id = h.customer_id AND l.tag = h.tag AND l.since = h.since"""
_KEPT = "SELECT customer_id, tag, value, since, run_id FROM tag_history WHERE since < $as_of"
_UNTOUCHED = """\
UNION ALL
SELECT h.customer_id, h.tag, h.value, h.since, h.run_id
FROM tag_history AS h
WHERE h.since >= $as_of
    AND NOT EXISTS (SELECT 1 FROM tag_news AS n WHERE n.customer_id = h.customer_id AND n.tag = h.tag)"""
_NEWS = """\
SELECT n.customer_id, n.tag, n.value, CAST($as_of AS DATE) AS since, $run_id AS run_id
FROM tag_news AS n"""
_COMPARED = """
LEFT JOIN tag_history_latest AS b ON b.customer_id = n.customer_id AND b.tag = n.tag
WHERE (n.value IS NOT NULL AND b.value IS NULL) OR (n.value IS NULL AND b.value IS NOT NULL) OR n.value <> b.value"""


def note_changes(news: News, tags: Sequence[Tag], after: pa.Table, before: pa.Table) -> None:
    """Add to ``news`` what changed between two tables of the same customers in the same order."""
    for tag in tags:
        if tag.name in after.column_names:
            differ = mark_changes(after[tag.name], before[tag.name])
            found = pa.table({"customer_id": after["customer_id"], "value": after[tag.name]})
            news.setdefault(tag.name, []).append(found.filter(differ))


def keep_history(run: Run, tags: Sequence[Tag], changes: Changes, news: News | None) -> None:
    """Add what changed by ``run.as_of``; empty values are no news before the first one is known.

    ``news``: what changed since the tags that were built on; None when nothing was.
    """
    if not tags:
        return
    bound = {"as_of": run.as_of}
    written = run.query("SELECT tag, MAX(since) AS since FROM tag_history GROUP BY tag").to_pylist()
    later = any(row["since"] >= run.as_of for row in written)
    built = news is not None and {tag.name for tag in tags} <= {row["tag"] for row in written}
    if built and not any(part.num_rows for parts in (news or {}).values() for part in parts):
        return
    again = built and changes.before == run.as_of
    _show_news(run, tags, news if built else None)
    compared = later or not built
    if compared:
        run.register("tag_history_latest", run.query(_LATEST, bound))
    found = run.query(_NEWS + (_COMPARED if compared else ""), {**bound, "run_id": run.id})
    if again and found.num_rows == sum(part.num_rows for parts in (news or {}).values() for part in parts):
        # Rows of that day are written over, or there is no such row yet; none goes.
        run.patch("tag_history", found)
        return
    if later:
        # Built on what was computed for the same day: rows of that day that are no news still hold.
        # Batch by batch: that no key repeats is known of rows that were there.
        run.replace_stream(
            "tag_history", run.query_batches(f"{_KEPT}\n{_UNTOUCHED}" if again else _KEPT, bound)
        )
    run.append("tag_history", found)


def _show_news(run: Run, tags: Sequence[Tag], news: News | None) -> None:
    """``tag_news``: customer, tag and value as text; of everybody when ``news`` is None."""
    parts = []
    for number, tag in enumerate(tags):
        if news is not None and tag.name not in news:
            continue
        column, source = "value", f"tag_news_{number}"
        if news is None:
            column, source = quote_name(tag.name), "tags"
        else:
            run.register(source, pa.concat_tables(news[tag.name]))
        value = column if tag.type is Type.TEXT else f"CAST({column} AS VARCHAR)"
        parts.append(f"SELECT customer_id, '{tag.name}' AS tag, {value} AS value FROM {source}")
    run.register("tag_news", run.query("\nUNION ALL\n".join(parts)))
