"""The tables behind applications' settings; installed with the rest of the desk by `blocks/ledger_schema.py`."""

from blocks.postgres_session import LEDGER_ROLE

SETTINGS_TABLES = """
CREATE TABLE IF NOT EXISTS desk.settings (
    application text NOT NULL,
    environment text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    config json NOT NULL,
    secrets json NOT NULL,
    PRIMARY KEY (application, environment, version)
);
CREATE TABLE IF NOT EXISTS desk.secret (
    application text NOT NULL,
    environment text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (application, environment, name, version)
);
"""

SETTINGS_GRANTS = f"""
-- versions are only ever added: what ran once can be named, and started again, for ever
REVOKE UPDATE, DELETE ON desk.settings, desk.secret FROM {LEDGER_ROLE};
"""
