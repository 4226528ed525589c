"""The store: the only user of SQL. SQLite by default; one schema, portable to PostgreSQL."""
