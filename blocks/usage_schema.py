"""The tables of usage, in a schema of their own of the ledger's database: raw samples, hours, days, what was read."""

from blocks.outlook_schema import OUTLOOK_TABLES
from blocks.postgres_session import LEDGER_ROLE

_TABLES = """
CREATE SCHEMA IF NOT EXISTS usage;
CREATE TABLE IF NOT EXISTS usage.resource (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    source text NOT NULL
);
CREATE TABLE IF NOT EXISTS usage.sample (
    resource integer NOT NULL REFERENCES usage.resource ON DELETE CASCADE,
    at timestamptz NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (resource, at)
);
CREATE TABLE IF NOT EXISTS usage.stretch (
    resource integer NOT NULL REFERENCES usage.resource ON DELETE CASCADE,
    step_s integer NOT NULL,
    at timestamptz NOT NULL,
    mean double precision NOT NULL,
    maximum double precision NOT NULL,
    last double precision NOT NULL,
    count integer NOT NULL,
    PRIMARY KEY (step_s, resource, at)
);
CREATE TABLE IF NOT EXISTS usage.reading (
    source text NOT NULL,
    begin timestamptz NOT NULL,
    "end" timestamptz NOT NULL,
    failure text NOT NULL DEFAULT '',
    PRIMARY KEY (source, begin)
);
"""
USAGE_TABLES = _TABLES + OUTLOOK_TABLES

USAGE_GRANTS = f"""
GRANT USAGE ON SCHEMA usage TO {LEDGER_ROLE};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA usage TO {LEDGER_ROLE};
"""
