"""What belongs to a database and is in no dump of it: encoding, settings, extensions, roles, owners.

Read where a database was restored, and made anew before and after it is loaded elsewhere. Called by
`blocks/restorations_postgres.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

_PLACE = """
SELECT pg_encoding_to_char(encoding), datlocprovider::text, datcollate, datctype, {locale},
  pg_database_size(oid) FROM pg_database WHERE datname = %s"""
_SETTINGS = """
SELECT coalesce(r.rolname, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase AND d.datname = current_database()
LEFT JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN LATERAL unnest(s.setconfig) c
WHERE s.setrole = 0 OR r.rolname IS NOT NULL"""
_EXTENSIONS = """
SELECT e.extname, n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY e.oid"""
_OURS = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
_OF_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = {} AND x.objid = {} AND x.deptype = 'e')"
_ROLES = f"""
SELECT DISTINCT r.rolname FROM pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%' AND r.oid IN (
  SELECT a.grantee FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a WHERE {_OURS}
  UNION SELECT a.grantee FROM pg_namespace n, aclexplode(n.nspacl) a WHERE {_OURS}
  UNION SELECT a.grantee FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) a
    WHERE {_OURS}
  UNION SELECT a.grantee FROM pg_default_acl d, aclexplode(d.defaclacl) a
  UNION SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
  UNION SELECT unnest(polroles) FROM pg_policy)"""
_OWNER = "(SELECT datdba FROM pg_database WHERE datname = current_database())"
# Whatever does not belong to the database's owner: what loads it makes everything its own.
_OWNERS = f"""
SELECT format('ALTER %s %I.%I OWNER TO %I', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, n.nspname, c.relname, o.rolname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND {_OURS} AND o.oid <> {_OWNER}
  AND {_OF_EXTENSION.format("'pg_class'::regclass", "c.oid")}
  AND NOT EXISTS (SELECT FROM pg_depend s WHERE s.objid = c.oid AND c.relkind = 'S' AND s.deptype IN ('a', 'i'))
UNION ALL
SELECT format('ALTER SCHEMA %I OWNER TO %I', n.nspname, o.rolname) FROM pg_namespace n
JOIN pg_roles o ON o.oid = n.nspowner
WHERE {_OURS} AND n.nspname <> 'public' AND o.oid <> {_OWNER}
UNION ALL
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, o.rolname) FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
WHERE {_OURS} AND p.prokind IN ('f', 'p') AND o.oid <> {_OWNER}
  AND {_OF_EXTENSION.format("'pg_proc'::regclass", "p.oid")}"""


@dataclass(frozen=True, slots=True)
class Outside:
    """What a dump lacks. `settings`: (role or empty, name, value); `extensions`: (name, schema, version)."""

    encoding: str
    provider: str
    collate: str
    ctype: str
    locale: str
    size_bytes: int
    settings: tuple[tuple[str, str, str], ...]
    extensions: tuple[tuple[str, str, str], ...]
    roles: tuple[str, ...]
    owners: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def read(value: Mapping[str, Any]) -> "Outside":
        """Rebuild it from what `as_dict` wrote, whatever else stands there."""
        known: dict[str, Any] = {name: value[name] for name in Outside.__slots__}
        for name in ("settings", "extensions"):
            known[name] = tuple(tuple(one) for one in known[name])
        known |= {name: tuple(known[name]) for name in ("roles", "owners")}
        return Outside(**known)


def read_outside(conninfo: str, name: str) -> Outside | None:
    """Read what is outside of a database; None where there is none of that name. Raises: psycopg.Error."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        locale = {False: "daticulocale", True: "datlocale"}[connection.info.server_version >= 170000]
        place = connection.execute(
            sql.SQL(cast(LiteralString, _PLACE)).format(locale=sql.SQL(cast(LiteralString, locale))), (name,)
        ).fetchone()
    if place is None:
        return None
    with psycopg.connect(make_conninfo(conninfo, dbname=name), autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog")
        return Outside(
            encoding=str(place[0]),
            provider=str(place[1]),
            collate=str(place[2]),
            ctype=str(place[3]),
            locale=str(place[4] or ""),
            size_bytes=int(place[5]),
            settings=tuple(connection.execute(_SETTINGS).fetchall()),
            extensions=tuple(connection.execute(_EXTENSIONS).fetchall()),
            roles=tuple(str(role) for (role,) in connection.execute(_ROLES)),
            owners=tuple(str(line) for (line,) in connection.execute(_OWNERS)),
        )


def create_database(superuser_url: str, name: str, owner: str, outside: Outside) -> Sequence[str]:
    """Make an empty database that nobody but its owner may enter, with roles and extensions as they were.

    Roles that are gone since come back without a log-in: they only own and may what they did inside it.

    Returns: the schemas that were made for extensions. Raises: psycopg.Error.
    """
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        for role in outside.roles:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
        make = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(name), sql.Identifier(owner), outside.encoding, outside.collate, outside.ctype
        )
        provider = {"i": "icu", "b": "builtin"}.get(outside.provider)
        if provider:
            option = sql.SQL(cast(LiteralString, f"{provider.upper()}_LOCALE"))
            make += sql.SQL(" LOCALE_PROVIDER {} {} {}").format(sql.Identifier(provider), option, outside.locale)
        connection.execute(make)
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    made: list[str] = []
    with psycopg.connect(make_conninfo(superuser_url, dbname=name), autocommit=True) as connection:
        for extension, schema, version in outside.extensions:
            if schema not in ("public", "pg_catalog"):
                words = sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}")
                connection.execute(words.format(sql.Identifier(schema), sql.Identifier(owner)))
                made.append(schema)
            words = sql.SQL("CREATE EXTENSION {} WITH SCHEMA {} VERSION {}")
            connection.execute(words.format(sql.Identifier(extension), sql.Identifier(schema), version))
    return made


def finish_database(superuser_url: str, name: str, outside: Outside) -> None:
    """Give a loaded database other owners where it had them, its settings, and statistics. Raises: psycopg.Error."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        for line in outside.owners:
            connection.execute(cast(LiteralString, line))
        connection.execute("ANALYZE")
        for role, setting, value in outside.settings:
            if role and not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
                continue
            _keep_setting(connection, name, role, setting, value)


def _keep_setting(connection: psycopg.Connection, name: str, role: str, setting: str, value: str) -> None:
    """Set it in this session and keep it from there: lists are quoted as the server does it."""
    with connection.transaction():
        connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
        whose = sql.SQL("ALTER ROLE {} IN DATABASE {}" if role else "ALTER DATABASE {}").format(
            *([sql.Identifier(role)] if role else []), sql.Identifier(name)
        )
        dotted = sql.SQL(".").join(sql.Identifier(part) for part in setting.split("."))
        connection.execute(whose + sql.SQL(" SET {} FROM CURRENT").format(dotted))
