"""The role of the ledger's database that the general worker has: it writes what becomes of a commit, and no more.

Installed by `install_schema`. What it may write is `domain/authority.py`'s; the database enforces it, so that code
which got hold of that worker's password still cannot write an approval, a rollback or a proof.
"""

from typing import LiteralString, cast

from blocks.postgres_session import GENERAL_ROLE
from domain.authority import GENERAL_KINDS, GENERAL_NOUNS, RELEASE_KEY


def _list(words: tuple[str, ...]) -> LiteralString:
    # literals of our own source, never of anybody's input
    return cast(LiteralString, ", ".join(f"'{word}'" for word in words))


GENERAL_ROLE_SQL = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{GENERAL_ROLE}') THEN CREATE ROLE {GENERAL_ROLE} LOGIN; END IF;
END $$;
"""

GENERAL_GRANTS = f"""
CREATE OR REPLACE FUNCTION ledger.refuse_foreign_kind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> '{GENERAL_ROLE}' THEN
        RETURN NEW;
    END IF;
    IF NOT (split_part(NEW.kind, '.', 1) IN ({_list(GENERAL_NOUNS)}) OR NEW.kind IN ({_list(GENERAL_KINDS)})) THEN
        RAISE EXCEPTION 'The general worker may not write % into the ledger.', NEW.kind
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- or it could take the key of an entry that others are yet to write, which would then be taken for written
    IF NEW.key IS NULL OR NOT (starts_with(NEW.key, NEW.kind || ':')
            OR (NEW.kind = 'release.pinned' AND starts_with(NEW.key, '{RELEASE_KEY}'))) THEN
        RAISE EXCEPTION 'The key of % is not the general worker''s to choose.', NEW.kind
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
ALTER FUNCTION ledger.refuse_foreign_kind() OWNER TO slipway_ledger_owner;
CREATE OR REPLACE TRIGGER refuse_foreign_kind BEFORE INSERT ON ledger.event
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_foreign_kind();
REVOKE ALL ON ALL TABLES IN SCHEMA ledger, desk FROM {GENERAL_ROLE};
GRANT USAGE ON SCHEMA ledger, desk TO {GENERAL_ROLE};
GRANT SELECT, INSERT ON ledger.event TO {GENERAL_ROLE};
-- not the webhook's secret; nothing of approvers, codes, deliveries, leases and settings
GRANT SELECT (name, forge, repository, url, branch) ON desk.application TO {GENERAL_ROLE};
-- whether there is a token, not the token
GRANT SELECT (application) ON desk.forge_access TO {GENERAL_ROLE};
"""
