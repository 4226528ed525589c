"""The tables, as data. Types are those that SQLite and PostgreSQL share; times are integer microseconds.

What is filtered or sorted has a column of its own; the rest of a record is JSON text (`domain.encoding`), so that a new
field needs no migration. What was asked for (`specification`) never changes and may be large, so it is kept once and
left out of `record`, which every change and every status event writes. A change here needs a revision in
`migrations/versions` and a new `REVISION` (tests compare them).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0001"
"""The newest schema revision."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

executions = Table(
    "executions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("phase", String(32), nullable=False),
    Column("verdict", String(32)),
    Column("priority", Integer, nullable=False),
    Column("cluster_uid", String(64), nullable=False),
    Column("cluster_private", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("specification", Text, nullable=False),
    Column("record", Text, nullable=False),
    Index(None, "created_at", "id"),
    Index(None, "phase", "cluster_uid"),
    Index(None, "owner", "phase"),
)

labels = Table(
    "labels",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("value", String(1024), nullable=False),
    Index(None, "key", "value"),
)

events = Table(
    "events",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("type", String(32), nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("execution_id", "sequence"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("project", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

cases = Table(
    "cases",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("step", String(256), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("class_name", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("duration", Float, nullable=False),
    Column("file", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("details", Text, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("path", String(1024), primary_key=True),
    Column("step", String(256), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)

collected = Table(
    "collected",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("step", String(256), primary_key=True),
    Column("number", Integer, nullable=False),
)
