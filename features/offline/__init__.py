"""The offline store: histories in files, joined by DuckDB."""
