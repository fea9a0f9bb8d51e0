"""The process of the monthly drill: everything once more in a scratch folder, from a kit and the store, and the proof.

Started by `blocks/recovery_room.py` as the operator's own process, with SLIPWAY_STATE of the scratch folder. It writes
a kit as `slipway backup kit` does, forgets the installation, and recovers. No worker, door, archiver or schedule runs
there, Prefect's services are off, and the application gets the settings of the test environment: so nothing of it acts
on the outside. What it finds goes into a file; whoever started it destroys the rest.
"""

import argparse
import base64
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.backup_server import BackupServer
from blocks.embedded_backups import superuser_url
from blocks.installation import read_installation, state_folder, write_private
from blocks.postgres_server import wait_ready
from blocks.supervisor import Supervisor
from deployments.recovery.recover import Order, Recovered, names_of, recover, without_archiving
from deployments.recovery.source import ENGINE
from deployments.recovery_kit import digest_secrets, make_kit, read_kit, write_kit
from deployments.stack import parts
from deployments.stack.client import use_prefect
from deployments.stack.parts import Kit
from deployments.stack.probes import wait_http
from deployments.stack.progress import Progress
from domain.drill import Check, failed, passed, unavailable
from domain.errors import SlipwayError

PRODUCTION, TEST = "production", "test"
_SERVER_LIMIT_S = 180
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    """Drill; the exit code says only whether there is a result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--of", type=Path, required=True, help="The state folder of the installation.")
    parser.add_argument("--result", type=Path, required=True, help="The file for what was found.")
    given = parser.parse_args()
    rehearsal = Rehearsal(given.of, state_folder(), given.result)
    rehearsal.run()
    return 0


class Rehearsal:
    """One drill: `checks` grow as it goes, and what was found so far is kept whatever comes next."""

    def __init__(self, of: Path, state: Path, result: Path) -> None:
        self.of, self.state, self.result = of, state, result
        self.checks: list[Check] = []
        self.figures: dict[str, float] = {}
        self.done = Recovered()
        self.progress = Progress()
        self.begun = time.monotonic()

    def run(self) -> None:
        """Take every step; the first that has no answer ends it, and is what is found."""
        name = "kit.written"
        try:
            kit = self._kit()
            name = "server.recovered"
            if (engine := kit["store"].get("engine", ENGINE)) != ENGINE:
                self.checks.append(unavailable(name, f"the engine is {engine}: recovered by hand only"))
                self._write()
                return
            stack = self._recover(kit)
            name = "isolation.started"
            self._start(stack)
            name = "ledger.chain"
            self._prove_ledger(kit)
            name = "prefect.answers"
            self._prove_prefect(stack)
            name = "application.served"
            self._prove_applications(stack)
            self.figures["rto_s"] = time.monotonic() - self.begun
        except (SlipwayError, OSError) as exc:
            self.checks.append(failed(name, "recovery_failed", error=str(exc)[:400]))
        self._write()

    def _kit(self) -> dict[str, Any]:
        installation = read_installation(self.of)
        facts = BackupServer(lambda: superuser_url(installation)).facts()
        path = self.result.with_name("kit.json")
        write_kit(path, make_kit(installation, system_id=facts.system_id, now=datetime.now(UTC)))
        read_installation.cache_clear()
        try:
            kit = read_kit(path)
        finally:
            path.unlink()
        self.checks.append(passed("kit.written", "recovery_kit", count=len(kit["secrets"])))
        return kit

    def _recover(self, kit: dict[str, Any]) -> Kit:
        order = Order(self.state, to="latest", isolated=True)
        stack, self.done = recover(order, kit, self.progress)
        done = self.done
        self.figures |= {f"{'_'.join(name.split())}_s": seconds for name, seconds in done.seconds.items()}
        seconds = done.seconds["PostgreSQL"]
        self.checks.append(passed("server.recovered", "recovery_server", seconds=seconds, point=done.point))
        seconds, count = done.seconds["objects of the buckets"], sum(done.objects.values())
        if done.missing:
            self.checks.append(failed("objects.restored", "recovery_objects_missing", missing=names_of(done.missing)))
        elif not done.objects:
            self.checks.append(unavailable("objects.restored", "no bucket was copied yet"))
        else:
            names = ", ".join(sorted(done.objects))
            self.checks.append(
                passed("objects.restored", "recovery_objects", seconds=seconds, count=count, buckets=names)
            )
        return stack

    def _start(self, stack: Kit) -> None:
        """Start what is looked at, and nothing that acts: no worker, door, archiver or keeper; Prefect's API alone."""
        supervisor = Supervisor.of(stack.installation)
        with self.progress.step("the recovered servers"):
            supervisor.add_group("postgres", [without_archiving(stack)])
            wait_ready(parts.postgres_server(stack).url(stack.credentials["postgres_superuser"]))
            prefect = parts.prefect(stack)
            supervisor.add_group("prefect", [replace(prefect, command=(*prefect.command, "--no-services"))])
            for site in _primary_sites(stack):
                supervisor.add_group(f"traefik-{site}", [parts.traefik(stack, site)])
            wait_http(f"{stack.installation.prefect_api_url}/health", limit_s=_SERVER_LIMIT_S)
        use_prefect(stack.installation, auth=stack.credentials["prefect_auth"])
        running = sorted(group for group in supervisor.groups() if not group.startswith("traefik-"))
        expected = ["postgres", "prefect", "s3"]
        names = ", ".join(running)
        judge = passed if running == expected else failed
        self.checks.append(judge("isolation.parts", "recovery_parts", seconds=0.0, running=names))
        self.checks.append(self._prove_quiet(stack))

    def _prove_quiet(self, stack: Kit) -> Check:
        """Ask the recovered server itself whether it hands its log to anybody."""
        import psycopg

        with psycopg.connect(parts.postgres_server(stack).url(stack.credentials["postgres_superuser"])) as connection:
            row = connection.execute("SELECT current_setting('archive_mode')").fetchone()
        mode = str(row[0]) if row else "unknown"
        judge = passed if mode == "off" else failed
        return judge("isolation.archiving", "recovery_archiving", seconds=0.0, mode=mode)

    def _prove_ledger(self, kit: dict[str, Any]) -> None:
        from blocks.world import open_world
        from domain.anchor import verify_anchored

        world = open_world()
        begun, anchors = time.monotonic(), world.anchors.read()
        with closing(world.ledger.links()) as links:
            proof = verify_anchored(links, anchors)
        seconds = time.monotonic() - begun
        if proof.chain.broken_at is not None:
            reason = f"entry {proof.chain.broken_at}: {proof.chain.reason}"
            self.checks.append(failed("ledger.chain", "recovery_failed", error=reason))
        else:
            entries = proof.chain.entries
            self.checks.append(passed("ledger.chain", "recovery_chain", seconds=seconds, entries=entries))
        if anchors:
            self.checks.append(passed("ledger.anchors", "recovery_anchors", count=proof.agreeing))
        else:
            self.checks.append(unavailable("ledger.anchors", "no anchor of the recovered entries was copied yet"))
        self.checks.append(_judge_kit(world, kit))

    def _prove_prefect(self, stack: Kit) -> None:
        begun = time.monotonic()
        found = _ask(stack, "/deployments/filter", {"limit": 200})
        names = sorted(str(one["name"]) for one in found)
        blocks = _ask(stack, "/block_documents/filter", {"limit": 200})
        known = {f"{one['block_type']['slug']}/{one['name']}" for one in blocks}
        wanted = {f"slipway-local-target/{site}" for site in _primary_sites(stack)}
        seconds = time.monotonic() - begun
        if not {"cd", "backup", "restore_drill"} <= set(names):
            self.checks.append(failed("prefect.deployments", "recovery_deployments", names=", ".join(names) or "–"))
        else:
            self.checks.append(passed("prefect.deployments", "recovery_deployments", names=f"{len(names)}"))
        judge = passed if wanted <= known else failed
        missing = ", ".join(sorted(wanted - known)) or "–"
        self.checks.append(
            judge("prefect.blocks", "recovery_blocks", seconds=seconds, count=len(known), missing=missing)
        )

    def _prove_applications(self, stack: Kit) -> None:
        from blocks.world import open_world
        from tasks.approval import read_live
        from tasks.recording import without_engine

        world, served = open_world(), 0
        with without_engine():
            for application in [one.name for one in world.applications.list()]:
                live = read_live.fn(application, PRODUCTION)
                if live:
                    served += 1
                    with self.progress.step(f"{application} in {PRODUCTION}"):
                        self._guarded(application, lambda name=application, live=live: self._serve(name, live))
        if not served:
            self.checks.append(passed("application.served", "recovery_no_application"))
        if not any(check.step == "references" for check in self.checks):
            self.checks.append(unavailable("references.bundles", "nothing recovered names an object"))

    def _guarded(self, application: str, serve: Callable[[], None]) -> None:
        try:
            serve()
        except (SlipwayError, OSError) as exc:
            self.checks.append(failed(f"application.served@{application}", "recovery_failed", error=str(exc)[:400]))

    def _serve(self, application: str, live: str) -> None:
        """Start the live release on the recovered database, route to it, and let its acceptance tests judge it."""
        from blocks.world import open_world
        from domain.revision import name_revision, release_of
        from domain.service import Arm
        from domain.size import Size
        from tasks.instances import (
            await_ready,
            prepare_release,
            read_application_file,
            service_spec,
        )
        from tasks.settings import read_settings
        from tasks.traffic import smoke_test

        world, begun = open_world(), time.monotonic()
        site = world.environment(PRODUCTION).primary.name
        prepare_release("drill", application, PRODUCTION, site, live)
        file = read_application_file(application, PRODUCTION, site, live)
        # what it is given is the test environment's: production's secrets open doors to the outside
        if file.database is not None:
            for environment in (TEST, PRODUCTION):
                world.databases.ensure(application, environment)
        harmless = name_revision(release_of(live), read_settings(application, TEST).version)
        spec = service_spec(file, application, TEST, harmless, Size(instances=1))
        recovered = {"DATABASE_URL": world.databases.url(application, PRODUCTION)} if file.database else {}
        spec = replace(spec, release=live, environment={**spec.environment, **recovered})
        instances = world.target(PRODUCTION, site).start(spec)
        problem = await_ready(application, PRODUCTION, site, live)
        if not problem:
            bad = [one for one in smoke_test(application, PRODUCTION, site, live) if not one.is_ok]
            problem = f"{bad[0].url} answered {bad[0].status or bad[0].error}" if bad else ""
        seconds = time.monotonic() - begun
        if problem:
            self.checks.append(failed(f"application.served@{application}", "recovery_failed", error=problem[:400]))
            return
        self.checks.append(passed(f"application.served@{application}", "recovery_served", seconds=seconds, site=site))
        urls = tuple(one.url for one in instances)
        world.balancer(PRODUCTION, site).route(application, [Arm(live, 100, urls, file.health.live)])
        self._accept(application, live, harmless, site)
        self._references(application, live, site)

    def _accept(self, application: str, live: str, harmless: str, site: str) -> None:
        from blocks.world import open_world
        from tasks.instances import find_manifest, read_application_file
        from tasks.settings import read_variables

        world, check = open_world(), f"application.acceptance@{application}"
        file = read_application_file(application, PRODUCTION, site, live)
        if file.acceptance is None:
            self.checks.append(unavailable(check, "its slipway.toml has no [acceptance]"))
            return
        url, host = world.balancer(PRODUCTION, site).entry(application)
        ended = world.target(PRODUCTION, site).run(
            find_manifest(application, live),
            file.acceptance.command,
            environment={
                **read_variables(application, TEST, harmless),
                "SLIPWAY_URL": url,
                "SLIPWAY_HOST": host,
            },
            limit_s=file.acceptance.limit_s,
            requirements=file.acceptance.requirements,
        )
        if ended.is_ok:
            self.checks.append(passed(check, "recovery_accepted", seconds=ended.seconds))
        else:
            self.checks.append(failed(check, "recovery_failed", error=" ".join(ended.tail.split())[-400:]))

    def _references(self, application: str, live: str, site: str) -> None:
        """Look for each object that the recovered database names in the recovered bucket."""
        import psycopg
        from psycopg.sql import SQL, Identifier

        from blocks.backup_bucket import BackupBucket
        from blocks.bucket import Account
        from blocks.world import open_world
        from tasks.instances import read_application_file

        file = read_application_file(application, PRODUCTION, site, live)
        installation = read_installation(self.state)
        secrets = json.loads((self.state / "credentials.json").read_text())
        url = f"http://127.0.0.1:{installation.ports['s3']}"
        account = Account(url, secrets["s3_admin_access_key"], secrets["s3_admin_secret_key"])
        for one in file.data.references if file.data else ():
            name = f"references.{one.table}.{one.column}@{application}"
            query = SQL("SELECT DISTINCT {0}::text FROM {1} WHERE {0} IS NOT NULL").format(
                Identifier(one.column), Identifier(*one.table.split("."))
            )
            try:
                with psycopg.connect(open_world().databases.url(application, PRODUCTION)) as connection:
                    keys = {str(row[0]) for row in connection.execute(query)}
            except psycopg.Error as exc:
                self.checks.append(failed(name, "recovery_failed", error=str(exc).strip()[:300]))
                continue
            there = {found.key for found in BackupBucket(account, one.bucket, is_encrypted=False).objects("")}
            missing = sorted(keys - there)
            if missing:
                self.checks.append(failed(name, "recovery_objects_missing", missing=names_of(missing)))
            else:
                self.checks.append(passed(name, "recovery_references", count=len(keys), bucket=one.bucket))

    def _write(self) -> None:
        value = {
            "checks": [check.as_dict() for check in self.checks],
            "figures": self.figures,
            "point": self.done.point,
            "backup": self.done.backup,
            "last_commit_at": self.done.last_commit_at,
        }
        write_private(self.result, json.dumps(value, indent=2))


def _judge_kit(world: Any, kit: dict[str, Any]) -> Check:
    """Whether the kit in the safe still opens everything: its secrets are today's."""
    written = world.ledger.entries(kinds=["recovery_kit.written"], newest_first=True, limit=1)
    known = str(written[0].data.get("secrets_sha256", "")) if written else ""
    if not known:
        return unavailable("kit.current", "no kit was written since this is recorded: slipway backup kit FILE")
    if known != digest_secrets(kit["secrets"]):
        return failed("kit.current", "recovery_kit_stale", at=f"{written[0].at:%Y-%m-%d}")
    return passed("kit.current", "recovery_kit_current", at=f"{written[0].at:%Y-%m-%d}")


def _primary_sites(stack: Kit) -> list[str]:
    from deployments.stack.layout import read_environments

    environments = read_environments(stack.installation.state / "environments")
    return [f"{one.name}-{one.primary.name}" for one in environments if one.name == PRODUCTION]


def _ask(stack: Kit, path: str, body: dict[str, Any]) -> list[Any]:
    token = base64.b64encode(stack.credentials["prefect_auth"].encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    url = f"{stack.installation.prefect_api_url}{path}"
    with _OPENER.open(
        urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers), timeout=30
    ) as answer:
        return list(json.load(answer))


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
    sys.exit(main())
