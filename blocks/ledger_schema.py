"""The tables behind ledger and desk, installed by `slipway up` with the server's superuser.

Schema `ledger`: the append-only events and the views over them; owned by a role without log-in, so that the role which
Slipway uses can add and read, and nothing else. Schema `desk`: what must be able to change (inbox, register of
applications, approvers, leases).
"""

import psycopg

from blocks.ledger_roles import GENERAL_GRANTS, GENERAL_ROLE_SQL
from blocks.load_history_postgres import LOAD_TABLES
from blocks.postgres_session import LEDGER_ROLE
from blocks.schema_version import apply_steps
from blocks.settings_schema import SETTINGS_GRANTS, SETTINGS_TABLES
from blocks.usage_schema import USAGE_GRANTS, USAGE_TABLES

OWNER_ROLE = "slipway_ledger_owner"

_ROLES = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OWNER_ROLE}') THEN CREATE ROLE {OWNER_ROLE} NOLOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{LEDGER_ROLE}') THEN CREATE ROLE {LEDGER_ROLE} LOGIN; END IF;
END $$;
"""

_LEDGER = """
CREATE SCHEMA IF NOT EXISTS ledger;
CREATE TABLE IF NOT EXISTS ledger.event (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    application text NOT NULL,
    environment text NOT NULL,
    site text NOT NULL,
    release text NOT NULL,
    actor text NOT NULL,
    run text NOT NULL,
    key text UNIQUE,
    -- json, not jsonb: the text is kept as it was hashed
    data json NOT NULL,
    prev_hash text NOT NULL,
    hash text NOT NULL UNIQUE
);
CREATE INDEX IF NOT EXISTS event_by_subject ON ledger.event (application, environment, kind, seq);
CREATE INDEX IF NOT EXISTS event_by_release ON ledger.event (release, seq);
CREATE INDEX IF NOT EXISTS event_by_run ON ledger.event (run, seq);

CREATE OR REPLACE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is append-only: % on % is refused. Append a correcting event instead.',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE OR REPLACE TRIGGER refuse_update BEFORE UPDATE OR DELETE ON ledger.event
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger.event
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE OR REPLACE VIEW ledger.live AS
    SELECT DISTINCT ON (application, environment, site)
        application, environment, site, release, at AS since, actor, run, data ->> 'settings' AS settings
    FROM ledger.event WHERE kind = 'site.switched'
    ORDER BY application, environment, site, seq DESC;
CREATE OR REPLACE VIEW ledger.story AS
    SELECT release, seq, at, kind, environment, site, actor, run, data FROM ledger.event WHERE release <> '';
CREATE OR REPLACE VIEW ledger.decision AS
    SELECT at, application, environment, release, kind, actor, run, data ->> 'reason' AS reason,
        data ->> 'comment' AS comment
    FROM ledger.event
    WHERE kind IN ('approval.granted', 'approval.rejected', 'approval.refused', 'approval.expired',
                   'rollback.authorised', 'rollback.refused', 'digest.unblocked', 'unblock.refused');
CREATE OR REPLACE VIEW ledger.blocked AS
    SELECT application, release, at AS since, actor, data ->> 'reason' AS reason, data ->> 'settings' AS settings FROM (
        SELECT DISTINCT ON (application, release, data ->> 'settings') * FROM ledger.event
        WHERE kind IN ('digest.blocked', 'digest.unblocked')
        ORDER BY application, release, data ->> 'settings', seq DESC
    ) newest WHERE kind = 'digest.blocked';
CREATE OR REPLACE VIEW ledger.incident AS
    SELECT seq AS number, at AS opened_at, application, environment, release, run,
        data ->> 'severity' AS severity, data ->> 'title' AS title, data ->> 'cause' AS cause
    FROM ledger.event WHERE kind = 'incident.opened';
"""

_DESK = """
CREATE SCHEMA IF NOT EXISTS desk;
CREATE TABLE IF NOT EXISTS desk.delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    forge text NOT NULL,
    repository text NOT NULL,
    delivery_id text NOT NULL,
    headers json NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL DEFAULT 'waiting',
    note text NOT NULL DEFAULT '',
    UNIQUE (forge, repository, delivery_id)
);
CREATE INDEX IF NOT EXISTS delivery_waiting ON desk.delivery (id) WHERE status = 'waiting';
CREATE TABLE IF NOT EXISTS desk.application (
    name text PRIMARY KEY,
    forge text NOT NULL,
    repository text NOT NULL,
    url text NOT NULL,
    branch text NOT NULL,
    webhook_secret bytea NOT NULL,
    UNIQUE (forge, repository)
);
CREATE TABLE IF NOT EXISTS desk.approver (
    name text PRIMARY KEY,
    roles text[] NOT NULL,
    logins text[] NOT NULL,
    seed bytea NOT NULL,
    enrolled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE desk.approver ADD COLUMN IF NOT EXISTS wrong_codes integer NOT NULL DEFAULT 0;
ALTER TABLE desk.approver ADD COLUMN IF NOT EXISTS locked_until timestamptz;
CREATE TABLE IF NOT EXISTS desk.used_code (
    approver text NOT NULL,
    time_step bigint NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (approver, time_step)
);
CREATE TABLE IF NOT EXISTS desk.forge_access (
    application text PRIMARY KEY,
    url text NOT NULL,
    token bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS desk.lease (
    name text PRIMARY KEY,
    owner text NOT NULL,
    expires_at timestamptz NOT NULL
);
"""

_GRANTS = f"""
ALTER SCHEMA ledger OWNER TO {OWNER_ROLE};
ALTER TABLE ledger.event OWNER TO {OWNER_ROLE};
ALTER VIEW ledger.live OWNER TO {OWNER_ROLE};
ALTER VIEW ledger.story OWNER TO {OWNER_ROLE};
ALTER VIEW ledger.decision OWNER TO {OWNER_ROLE};
ALTER VIEW ledger.blocked OWNER TO {OWNER_ROLE};
ALTER VIEW ledger.incident OWNER TO {OWNER_ROLE};
ALTER FUNCTION ledger.refuse_change() OWNER TO {OWNER_ROLE};
ALTER SCHEMA desk OWNER TO {OWNER_ROLE};
REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM PUBLIC, {LEDGER_ROLE};
GRANT USAGE ON SCHEMA ledger, desk TO {LEDGER_ROLE};
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO {LEDGER_ROLE};
GRANT INSERT ON ledger.event TO {LEDGER_ROLE};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA desk TO {LEDGER_ROLE};
-- a code once used stays used
REVOKE UPDATE, DELETE ON desk.used_code FROM {LEDGER_ROLE};
"""


def install_schema(superuser_url: str) -> None:
    """Create or bring up to date the schemas in the database that `superuser_url` names.

    Effect: tables, views, triggers, roles without passwords and grants; running it again changes nothing.
    """
    with psycopg.connect(superuser_url, autocommit=True) as connection, connection.transaction():
        for part in (
            _ROLES,
            GENERAL_ROLE_SQL,
            _LEDGER,
            _DESK,
            SETTINGS_TABLES,
            USAGE_TABLES,
            LOAD_TABLES,
            _GRANTS,
            SETTINGS_GRANTS,
            USAGE_GRANTS,
            GENERAL_GRANTS,
        ):
            connection.execute(part)
        apply_steps(connection, writers=(LEDGER_ROLE,))
