"""Make Prefect know everything of this installation, then ask it whether it really does.

Work pool, block types and documents, deployments with their schedules, automations. What people changed in the UI
stays: documents that exist are never written again. Prefect is imported inside, after its address is known.
"""

import hashlib
import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import yaml

from blocks.installation import write_private
from blocks.supervisor import tail_file
from deployments.stack.client import use_prefect
from deployments.stack.code import RENDERED_FILE, prune_code
from deployments.stack.layout import read_environments, site_names
from deployments.stack.parts import POOL, Kit, prefect_client_environment
from deployments.stack.probes import wait_http
from deployments.stack.progress import Progress
from domain.errors import InvariantError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

SERVER_LIMIT_S = 120
_DEPLOY_LIMIT_S = 180
_SCHEDULE_LIMIT_S = 60
_PAGE = 200
_UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One deployment that the server must have: `<flow>/<name>`, and how many schedules of it must be active."""

    name: str
    entrypoint: str
    schedules: int

    @property
    def full_name(self) -> str:
        return f"{self.entrypoint.rpartition(':')[2]}/{self.name}"


def register(kit: Kit, progress: Progress, *, start_worker: Callable[[], None]) -> None:
    """Bring the server's knowledge up to date and verify it.

    Effect: may be repeated; skips what is right already.
    Raises: TransientError where the server does not come up, InvariantError naming what it does not have.
    """
    _import_prefect(kit)  # while the server starts: both take seconds
    from prefect.client.orchestration import get_client

    with progress.step("Prefect server answers"):
        wait_http(f"{kit.installation.prefect_api_url}/health", limit_s=SERVER_LIMIT_S)
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            _register(client, kit, progress, start_worker)
    except PrefectHTTPStatusError as exc:
        raise InvariantError(
            f"Prefect refused: {str(exc)[:512]} See {kit.installation.state}/logs/prefect.log."
        ) from exc


def _register(client: "SyncPrefectClient", kit: Kit, progress: Progress, start_worker: Callable[[], None]) -> None:
    _ensure_pool(client, kit)
    start_worker()
    with progress.step("blocks") as notes:
        notes += _register_blocks(client, kit)
    wanted = read_wanted(kit.code / RENDERED_FILE)
    with progress.step("deployments") as notes:
        notes += _deploy(client, kit, wanted)
    with progress.step("automations") as notes:
        notes += _ensure_automations(client)
    with progress.step("Prefect has every deployment, and schedules runs") as notes:
        notes.append(_verify(client, kit, wanted))
    _prune(client, kit)


def read_wanted(prefect_file: Path) -> list[Wanted]:
    """Read which deployments `prefect.yaml` describes."""
    described = yaml.safe_load(prefect_file.read_text())["deployments"]
    return [
        Wanted(
            name=one["name"],
            entrypoint=one["entrypoint"],
            schedules=sum(1 for schedule in one.get("schedules", []) if schedule.get("active", True)),
        )
        for one in described
        if (prefect_file.parent / one["entrypoint"].partition(":")[0]).exists()  # TODO: goes with the last flow
    ]


def _import_prefect(kit: Kit) -> None:
    """Point Prefect's client at our server, then import it: it reads its settings once."""
    use_prefect(kit.installation, auth=kit.credentials["prefect_auth"])
    importlib.import_module("prefect.client.orchestration")


def _ensure_pool(client: "SyncPrefectClient", kit: Kit) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    limit = kit.settings.runs_at_once_max
    try:
        pool = client.read_work_pool(POOL)
        if pool.concurrency_limit != limit:
            client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=limit))
    except ObjectNotFound:
        from prefect.workers.process import ProcessWorker

        template = ProcessWorker.get_default_base_job_template()
        create = WorkPoolCreate(name=POOL, type="process", concurrency_limit=limit, base_job_template=template)
        client.create_work_pool(create)


def _register_blocks(client: "SyncPrefectClient", kit: Kit) -> list[str]:
    """Register block types when our code changed, and make the documents that are missing."""
    try:
        from blocks.register import SINGLE_BLOCKS, SITE_BLOCKS
    except ModuleNotFoundError as exc:  # TODO: goes with the last adapter
        return [f"{exc.name} is missing: no block registered"]
    mark = kit.installation.state / "prefect" / "blocks-registered"
    if not mark.exists() or mark.read_text() != kit.code.name:
        for block in (*SITE_BLOCKS, *SINGLE_BLOCKS):
            block.register_type_and_schema(client=client)  # pyright: ignore[reportArgumentType]
        write_private(mark, kit.code.name)
    sites = site_names(read_environments(kit.installation.state / "environments"))
    made = [
        *(_ensure_document(client, block, name, site=True) for block in SITE_BLOCKS for name in sites),
        *(_ensure_document(client, block, "main", site=False) for block in SINGLE_BLOCKS),
    ]
    return [f"{sum(made)} documents made"] if any(made) else []


def _ensure_document(client: "SyncPrefectClient", block: Any, name: str, *, site: bool) -> bool:
    """Make a document that is missing; one that exists is the team's."""
    from prefect.exceptions import ObjectNotFound

    slug = block.get_block_type_slug()
    try:
        client.read_block_document_by_name(name, slug, include_secrets=False)
        return False
    except ObjectNotFound:
        environment, _, place = name.partition("-")
        (block(environment=environment, site=place) if site else block()).save(name, client=client)
        return True


def _deploy(client: "SyncPrefectClient", kit: Kit, wanted: Sequence[Wanted]) -> list[str]:
    """Deploy with Prefect's own command, from the copy of the code, unless the server has all of it from there."""
    if all(_deployed_from(client, one) == str(kit.code) for one in wanted):
        return []
    log = kit.installation.state / "logs" / "deploy.log"
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", f"--prefect-file={RENDERED_FILE}"]
    command += [f"--name={one.full_name}" for one in wanted]
    with log.open("w") as output:
        done = subprocess.run(
            command,
            cwd=kit.code,
            env={**prefect_client_environment(kit), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
            timeout=_DEPLOY_LIMIT_S,
        )
    if done.returncode != 0:
        raise InvariantError(f"`prefect deploy --all` failed: {tail_file(log, lines=8)[-512:]} See {log}.")
    return [f"{len(wanted)} deployed"]


def _deployed_from(client: "SyncPrefectClient", wanted: Wanted) -> str:
    """The folder from which the server would run this deployment; empty where it does not know it."""
    from prefect.exceptions import ObjectNotFound

    try:
        deployment = client.read_deployment_by_name(wanted.full_name)
    except ObjectNotFound:
        return ""
    for step in deployment.pull_steps or []:
        for settings in step.values():
            return str(Path(settings.get("codes", "")) / settings.get("current", ""))
    return ""


def _ensure_automations(client: "SyncPrefectClient") -> list[str]:
    """Make our automations, and change those whose text here changed; paused ones stay paused."""
    from deployments.automations import reconcile_automation, zombie_automation

    reconcile = client.read_deployment_by_name("reconcile/reconcile").id
    made: list[str] = []
    for automation in (zombie_automation(), reconcile_automation(reconcile)):
        mark = _fingerprint(automation.model_dump(mode="json"))
        automation.description += f" [{mark}]"
        known = client.read_automations_by_name(automation.name)
        if known and known[0].description.endswith(f"[{mark}]"):
            continue
        if known:
            automation.enabled = known[0].enabled
            client.update_automation(known[0].id, automation)
        else:
            client.create_automation(automation)
        made.append(automation.name)
    return made


def _fingerprint(value: Any) -> str:
    """Hash a JSON value whose lists are sets: their order differs from process to process."""
    if isinstance(value, dict):
        text = "".join(f"{key}:{_fingerprint(value[key])};" for key in sorted(value))
    elif isinstance(value, list):
        text = "".join(sorted(_fingerprint(item) for item in value))
    else:
        text = repr(value)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _verify(client: "SyncPrefectClient", kit: Kit, wanted: Sequence[Wanted]) -> str:
    """Ask the server for each deployment, its active schedules, and runs that these made.

    Raises: InvariantError naming what is missing and where to look.
    """
    for one in wanted:
        place = _deployed_from(client, one)
        if place != str(kit.code):
            raise InvariantError(
                f"Prefect has no deployment {one.full_name} from {kit.code} (found: {place or 'none'}). "
                f"See {kit.installation.state}/logs/deploy.log: one unknown key in prefect.yaml makes Prefect skip all."
            )
        deployment = client.read_deployment_by_name(one.full_name)
        active = sum(1 for schedule in deployment.schedules if schedule.active)
        if deployment.paused or active < one.schedules:
            raise InvariantError(
                f"Deployment {one.full_name} is paused, or has {active} of {one.schedules} schedules active. "
                "Resume it in the Prefect UI, then run `slipway up` again."
            )
        if one.schedules:
            _wait_scheduled(client, one, deployment.id)
    return f"{len(wanted)} deployments"


def _wait_scheduled(client: "SyncPrefectClient", wanted: Wanted, deployment_id: UUID) -> None:
    deadline = time.monotonic() + _SCHEDULE_LIMIT_S
    while not _runs(client, [deployment_id], states=("SCHEDULED",), limit=1):
        if time.monotonic() > deadline:
            raise InvariantError(
                f"{wanted.full_name} has a schedule, but Prefect schedules no run of it. See the server's log: a "
                "SQLAlchemy newer than 2.0 breaks its scheduler. Install exactly requirements/runtime.txt."
            )
        time.sleep(0.5)


def _prune(client: "SyncPrefectClient", kit: Kit) -> None:
    """Remove old copies of our code, unless there are more unfinished runs than one answer holds."""
    unfinished = _runs(client, [], states=_UNFINISHED, limit=_PAGE)
    if len(unfinished) < _PAGE:
        names = {str(run.id) for run in unfinished}
        prune_code(kit.installation.state / "code", current=kit.code, unfinished_runs=names)


def _runs(client: "SyncPrefectClient", deployment_ids: list[UUID], *, states: Sequence[str], limit: int) -> list[Any]:
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    types = FlowRunFilterStateType(any_=[StateType(state) for state in states])
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=deployment_ids)) if deployment_ids else None,
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=types)),
        limit=limit,
    )
