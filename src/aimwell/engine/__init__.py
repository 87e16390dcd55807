"""Where tables live and queries run: the workspace with its store (SQLite) and warehouse (Parquet, DuckDB)."""
