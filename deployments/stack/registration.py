"""Make Prefect know everything of this installation, then ask it whether it really does.

Work pool, block types and documents, deployments with their schedules, automations. What people changed in the UI
stays: documents that exist are never written again. Prefect is imported inside, after its address is known.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from blocks.installation import WORKERS_FOLDER, write_private
from blocks.supervisor import Supervisor, tail_file
from deployments.stack.client import use_prefect
from deployments.stack.code import RENDERED_FILE, prune_code
from deployments.stack.deploying import DeploymentSpec, PrefectFile, deploy, load_flows, read_prefect_file
from deployments.stack.layout import read_environments, site_names
from deployments.stack.parts import Kit
from deployments.stack.probes import WORKERS, wait_http
from deployments.stack.progress import Progress
from domain.errors import InvariantError

RECORD_FILE = f"{WORKERS_FOLDER}/deployed.json"
PULL_STEP = "prefect.deployments.steps.set_working_directory"

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

SERVER_LIMIT_S = 120
_SCHEDULE_LIMIT_S = 60
_RESTARTS_MAX = 3
_PAGE = 200
_UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


def register(kit: Kit, progress: Progress, *, start_worker: Callable[[], None]) -> None:
    """Bring the server's knowledge up to date and verify it.

    Effect: may be repeated; skips what is right already.
    Raises: TransientError where the server does not come up, InvariantError naming what it does not have.
    """
    file = read_prefect_file(kit.code / RENDERED_FILE)
    use_prefect(kit.installation, auth=kit.credentials["prefect_auth"])
    with progress.step("Prefect server answers"):
        # Imports first, while the server starts: both take seconds.
        from prefect.client.orchestration import get_client
        from prefect.exceptions import PrefectHTTPStatusError

        flows = load_flows(kit.code, file.deployments)
        wait_http(
            f"{kit.installation.prefect_api_url}/health", limit_s=SERVER_LIMIT_S, is_hopeless=_watch_restarts(kit)
        )
    try:
        with get_client(sync_client=True) as client:
            for pool in WORKERS.values():
                _ensure_pool(client, kit, pool)
            start_worker()
            _register(client, kit, progress, file, flows)
    except PrefectHTTPStatusError as exc:
        raise InvariantError(
            f"Prefect refused: {str(exc)[:512]} See {kit.installation.state}/logs/prefect.log."
        ) from exc


def _register(
    client: "SyncPrefectClient", kit: Kit, progress: Progress, file: PrefectFile, flows: "dict[str, Flow[..., Any]]"
) -> None:
    with progress.step("blocks") as notes:
        notes += _register_blocks(client, kit)
    with progress.step("deployments") as notes:
        notes += _deploy(client, kit, file, flows)
        _record_deployed(client, kit, file)
    with progress.step("automations") as notes:
        notes += _ensure_automations(client)
    with progress.step("Prefect has every deployment, and schedules runs") as notes:
        notes.append(_verify(client, kit, file.deployments))
    _prune(client, kit)


def _watch_restarts(kit: Kit) -> Callable[[], str]:
    """Notice a server that ends again and again while starting, and quote it instead of waiting for the limit."""
    supervisor, pids = Supervisor.of(kit.installation), set[int]()

    def is_hopeless() -> str:
        for process in supervisor.processes("prefect"):
            pids.update({process.pid} if process.pid else ())
            if len(pids) > _RESTARTS_MAX:
                words = tail_file(process.log, lines=3)[-256:] if process.log else ""
                return f"Prefect's server ended {_RESTARTS_MAX} times while starting: {words} See {process.log}."
        return ""

    return is_hopeless


def _ensure_pool(client: "SyncPrefectClient", kit: Kit, name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    limit = kit.settings.runs_at_once_max
    try:
        pool = client.read_work_pool(name)
        if pool.concurrency_limit != limit:
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
    except ObjectNotFound:
        from prefect.workers.process import ProcessWorker

        template = ProcessWorker.get_default_base_job_template()
        create = WorkPoolCreate(name=name, type="process", concurrency_limit=limit, base_job_template=template)
        client.create_work_pool(create)


def _register_blocks(client: "SyncPrefectClient", kit: Kit) -> list[str]:
    """Register block types when our code changed, and make the documents that are missing; others are the team's."""
    from blocks.accepted import accept_blocks
    from blocks.register import SINGLE_BLOCKS, SITE_BLOCKS

    sites = site_names(read_environments(kit.installation.state / "environments"))
    wanted: list[tuple[Any, str]] = [
        *((block, name) for block in SITE_BLOCKS for name in sites),
        *((block, "main") for block in SINGLE_BLOCKS),
    ]
    known = {block: _document_names(client, block.get_block_type_slug()) for block in (*SITE_BLOCKS, *SINGLE_BLOCKS)}
    missing = [(block, name) for block, name in wanted if name not in known[block]]
    _accept_what_is_there(client, kit)
    mark = kit.installation.state / "prefect" / "blocks-registered"
    if not missing and mark.exists() and mark.read_text() == kit.code.name:
        return []
    accept_blocks(kit.installation.state, asyncio.run(_write_blocks(list(known), missing)))
    write_private(mark, kit.code.name)
    return [f"{len(known)} types, {len(missing)} documents made"]


def _document_names(client: "SyncPrefectClient", slug: str) -> set[str]:
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        return {str(one.name) for one in client.read_block_documents_by_type(slug, include_secrets=False)}
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code == 404:
            return set()  # the type is new
        raise


def _accept_what_is_there(client: "SyncPrefectClient", kit: Kit) -> None:
    """Take the documents of an installation from before blocks were accepted as they are, once."""
    from blocks.accepted import FILE, accept_blocks, read_documents

    if not (kit.installation.state / FILE).exists():
        accept_blocks(kit.installation.state, read_documents(client))


async def _write_blocks(types: Sequence[Any], missing: Sequence[tuple[Any, str]]) -> dict[str, dict[str, Any]]:
    """Write types, then documents, through one connection: `Block.save` would register its type each time anew.

    Returns: the documents that were made, by `type-slug/name`.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import BlockDocumentCreate

    made: dict[str, dict[str, Any]] = {}
    async with get_client() as client:
        for block in types:
            await block.aregister_type_and_schema(client=client)
        for block, name in missing:
            environment, _, site = name.partition("-")
            document = (block(environment=environment, site=site) if site else block())._to_block_document(name=name)
            kept = document.model_dump(include={"name", "block_schema_id", "block_type_id", "data", "is_anonymous"})
            await client.create_block_document(BlockDocumentCreate(**kept))
            made[f"{block.get_block_type_slug()}/{name}"] = kept["data"]
    return made


def _deploy(client: "SyncPrefectClient", kit: Kit, file: PrefectFile, flows: "dict[str, Flow[..., Any]]") -> list[str]:
    """Deploy from the copy of the code, unless the server has all of it from there."""
    if all(_deployed_from(client, one) == str(kit.code) for one in file.deployments):
        return []
    deploy(client, file, flows, version=kit.code.name)
    return [f"{len(file.deployments)} deployed"]


def _deployed_from(client: "SyncPrefectClient", wanted: DeploymentSpec) -> str:
    """The folder from which the server would run this deployment; empty where it does not know it as it should be."""
    from prefect.exceptions import ObjectNotFound

    try:
        deployment = client.read_deployment_by_name(wanted.full_name)
    except ObjectNotFound:
        return ""
    found = (deployment.entrypoint, deployment.work_pool_name, deployment.job_variables or {})
    if found != (wanted.entrypoint, wanted.work_pool.name, wanted.work_pool.job_variables):
        return ""
    steps = deployment.pull_steps or []
    return str(steps[0].get(PULL_STEP, {}).get("directory", "")) if len(steps) == 1 else ""


def _record_deployed(client: "SyncPrefectClient", kit: Kit, file: PrefectFile) -> None:
    """Write down what the workers may run: the server's word for it counts now, and never again.

    Effect: `deployed.json` of the state folder, whole or not at all.
    """
    deployments = {
        str(client.read_deployment_by_name(one.full_name).id): {
            "name": one.full_name,
            "entrypoint": one.entrypoint,
            "pool": one.work_pool.name,
        }
        for one in file.deployments
    }
    path = kit.installation.state / RECORD_FILE
    text = json.dumps({"code": kit.code.name, "deployments": deployments}, indent=2)
    if not path.exists() or path.read_text() != text:
        write_private(path, text, mode=0o644)


def _ensure_automations(client: "SyncPrefectClient") -> list[str]:
    """Make our automations, and change those whose text here changed; paused ones stay paused."""
    from deployments.automations import our_automations

    reconcile = client.read_deployment_by_name("reconcile/reconcile").id
    made: list[str] = []
    for automation in our_automations(reconcile):
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


def _verify(client: "SyncPrefectClient", kit: Kit, wanted: Sequence[DeploymentSpec]) -> str:
    """Ask the server for each deployment, its active schedules, and runs that these made.

    Raises: InvariantError naming what is missing and where to look.
    """
    for one in wanted:
        place = _deployed_from(client, one)
        if place != str(kit.code):
            raise InvariantError(
                f"Prefect has no deployment {one.full_name} from {kit.code} (found: {place or 'none'}). "
                "Run `slipway up` again; if it stays so, see logs/prefect.log in the state folder."
            )
        deployment = client.read_deployment_by_name(one.full_name)
        active = sum(1 for schedule in deployment.schedules if schedule.active)
        if deployment.paused or active < one.active_schedules:
            raise InvariantError(
                f"Deployment {one.full_name} is paused, or has {active} of {one.active_schedules} schedules active. "
                "Resume it in the Prefect UI, then run `slipway up` again."
            )
        if one.active_schedules:
            _wait_scheduled(client, one, deployment.id)
    return f"{len(wanted)} deployments"


def _wait_scheduled(client: "SyncPrefectClient", wanted: DeploymentSpec, deployment_id: UUID) -> None:
    deadline = time.monotonic() + _SCHEDULE_LIMIT_S
    while not _runs(client, states=("SCHEDULED",), deployment_ids=[deployment_id]):
        if time.monotonic() > deadline:
            raise InvariantError(
                f"{wanted.full_name} has a schedule, but Prefect schedules no run of it. See the server's log: a "
                "SQLAlchemy newer than 2.0 breaks its scheduler. Install exactly requirements/runtime.txt."
            )
        time.sleep(0.5)


def _prune(client: "SyncPrefectClient", kit: Kit) -> None:
    """Remove copies of our code that no unfinished run began with."""
    codes = kit.installation.state / "code"
    notes = [note.name for note in (codes / "runs").iterdir() if not note.name.startswith(".")]
    unfinished: set[str] = set()
    for first in range(0, len(notes), _PAGE):
        ids = [UUID(name) for name in notes[first : first + _PAGE]]
        unfinished.update(str(run.id) for run in _runs(client, states=_UNFINISHED, run_ids=ids))
    prune_code(codes, current=kit.code, unfinished_runs=unfinished)


def _runs(
    client: "SyncPrefectClient",
    *,
    states: Sequence[str],
    deployment_ids: Sequence[UUID] = (),
    run_ids: Sequence[UUID] = (),
) -> list[Any]:
    """Read flow runs in these states, of these deployments or with these ids; one page of them."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    types = FlowRunFilterStateType(any_=[StateType(state) for state in states])
    deployments = DeploymentFilter(id=DeploymentFilterId(any_=list(deployment_ids))) if deployment_ids else None
    ids = FlowRunFilterId(any_=list(run_ids)) if run_ids else None
    runs = FlowRunFilter(state=FlowRunFilterState(type=types), id=ids)
    return client.read_flow_runs(deployment_filter=deployments, flow_run_filter=runs, limit=_PAGE)
