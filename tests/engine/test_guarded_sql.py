"""SQL that a person wrote: what only computes passes, everything else is refused with its reason."""

from __future__ import annotations

import pytest

from aimwell.core.errors import BadInput
from aimwell.engine.guarded_sql import check_select

TABLES = ("customers", "orders", "events")
HARMLESS = [
    "SELECT customer_id, COUNT(*) AS n FROM events GROUP BY customer_id",
    "WITH e AS (SELECT customer_id, MAX(occurred_on) AS d FROM events GROUP BY 1) SELECT customer_id, d FROM e",
    "SELECT customer_id, SUM(CASE WHEN name = 'A' THEN 1 ELSE 0 END) AS a FROM events GROUP BY customer_id;",
    "SELECT e.customer_id, ROW_NUMBER() OVER (PARTITION BY e.customer_id ORDER BY e.event_id) AS n FROM events AS e",
    "SELECT customer_id, DATE_DIFF('day', MAX(occurred_on), $as_of) AS d FROM events GROUP BY customer_id",
    "SELECT customer_id, 1 AS x FROM customers UNION ALL SELECT customer_id, 2 FROM orders",
    "WITH a AS (SELECT 1 AS n), b AS (SELECT n FROM (SELECT n FROM a) AS c) SELECT n FROM B",
    "SELECT n FROM (WITH a AS (SELECT 1 AS n) SELECT n FROM a UNION SELECT n FROM (SELECT n FROM a) AS c) AS d",
    "SELECT customer_id, COALESCE(NULLIF(TRIM(LOWER(email)), ''), '-') LIKE '%@x.cn' AS x FROM customers",
]
REFUSED = {
    "DROP TABLE customers": "not_a_select",
    "COPY customers TO '/tmp/out.csv'": "not_a_select",
    "ATTACH 'other.db' AS o": "not_a_select",
    "INSTALL httpfs": "not_a_select",
    "LOAD httpfs": "not_a_select",
    "PRAGMA database_list": "not_a_select",
    "SET memory_limit = '100GB'": "not_a_select",
    "INSERT INTO customers SELECT * FROM customers": "not_a_select",
    "CREATE TABLE x AS SELECT * FROM customers": "not_a_select",
    "DELETE FROM customers": "not_a_select",
    "SELECT 1; SELECT 2": "statements",
    "SELECT customer_id, 1 AS x FROM customers; DROP TABLE customers": "statements",
    "": "statements",
    "SELECT customer_id, content FROM read_text('/etc/passwd')": "table_function",
    "SELECT customer_id, x FROM read_csv('/etc/passwd')": "table_function",
    "SELECT * FROM read_csv_auto('a.csv')": "table_function",
    "SELECT * FROM read_parquet('a.parquet')": "table_function",
    "SELECT * FROM glob('/*')": "table_function",
    "SELECT * FROM range(100000000000)": "table_function",
    "SELECT * FROM duckdb_settings()": "table_function",
    "SELECT * FROM '/etc/passwd'": "table",
    "SELECT * FROM 'a.parquet'": "table",
    "SELECT * FROM tags": "table",
    "SELECT * FROM order": "table",
    "SELECT * FROM information_schema.tables": "catalogue",
    "SELECT * FROM sqlite_master": "table",
    "SELECT customer_id, getenv('HOME') AS x FROM customers": "function",
    "SELECT customer_id, current_setting('threads') AS x FROM customers": "function",
    "SELECT customer_id, (SELECT content FROM read_text('/etc/passwd')) AS x FROM customers": "table_function",
    "SELECT customer_id, query('SELECT 1') AS x FROM customers": "function",
    "SELECT customer_id, repeat('x', 1000000000) AS x FROM customers": "function",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r": "recursive",
    # A name that WITH made means a file or another table wherever the engine does not find it.
    'WITH "a.csv" AS (SELECT * FROM "a.csv") SELECT * FROM "a.csv"': "table",
    'WITH "a.csv" AS (SELECT 1 AS n) SELECT * FROM "a.csv"': "table",
    "WITH a AS (SELECT * FROM erasures), erasures AS (SELECT 1 AS n) SELECT * FROM a": "table",
    "SELECT * FROM (WITH erasures AS (SELECT 1 AS n) SELECT n FROM erasures) AS a, erasures": "table",
    "SELECT * FROM (WITH e AS (SELECT 1 AS n) SELECT n FROM e) AS a, (SELECT * FROM e) AS b": "table",
    "WITH identity_lin\u212as AS (SELECT 1 AS n) SELECT * FROM identity_links": "table",
    "SELECT customer_id, $secret AS x FROM customers": "parameter",
    "SELECT customer_id, ? AS x FROM customers": "parameter",
    "SELEC customer_id": "not_a_select",
    "SELECT customer_id FROM (": "unreadable",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000: "unreadable",
    "SELECT customer_id, 1 AS x FROM customers -- " + "x" * 20_000: "too_long",
}


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_only_computes_passes(sql: str) -> None:
    written = check_select(sql, TABLES, ("as_of",))
    assert written.upper().startswith(("SELECT", "WITH"))
    assert check_select(written, TABLES, ("as_of",)) == written


@pytest.mark.parametrize(("sql", "reason"), REFUSED.items(), ids=[sql[:60] for sql in REFUSED])
def test_everything_else_is_refused(sql: str, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_select(sql, TABLES, ("as_of",))
    assert caught.value.code == f"engine.sql_{reason}"
    assert caught.value.render("zh") != caught.value.render("en")


def test_a_comment_hides_nothing() -> None:
    written = check_select("SELECT customer_id, 1 AS x FROM customers /* ; DROP TABLE customers */", TABLES)
    assert "DROP" not in written


def test_the_nearest_tables_are_named() -> None:
    with pytest.raises(BadInput) as caught:
        check_select("SELECT customer_id, 1 AS x FROM customer", TABLES)
    assert "customers" in caught.value.render("en")
