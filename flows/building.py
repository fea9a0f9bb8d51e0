"""The stages of one run of `ci`, and what they know of it; `flows/ci.py` puts them in order."""

from dataclasses import dataclass, field

from prefect.client.schemas.objects import State as RunState
from prefect.states import Completed

from blocks.world import open_world
from domain.application import ApplicationFile
from domain.check import CheckResult, first_red
from domain.commit_status import State
from domain.release import Manifest, short
from domain.superseding import explain_superseded
from tasks.checks import run_check
from tasks.ci_report import CiProgress, show_report
from tasks.commit_status import tell_forge
from tasks.readiness import refuse_full_disk
from tasks.release import build_image, pack_release, pin_release, record_ci, store_bundle
from tasks.source import build_source, checkout_commit

KINDS = ("unit", "integration")


@dataclass(slots=True)
class Building:
    """One run of `ci`: what was pushed, by whom, and what came of it so far."""

    run: str
    attempt: int
    application: str
    commit: str
    branch: str
    before: str
    requester: str
    requester_email: str
    delivery: str
    progress: CiProgress
    results: list[CheckResult] = field(default_factory=list[CheckResult])
    shared_network: tuple[str, ...] = ()

    def begin(self) -> None:
        """Say in the ledger that this run began, and why."""
        self._record("ci.started", branch=self.branch, delivery=self.delivery, requester=self.requester)
        self._tell("pending", "building and checking")

    def build(self) -> Manifest | None:
        """Check out exactly the commit, build it, pack it; None where the build is red."""
        refuse_full_disk("ci")
        file = checkout_commit(self.run, self.application, self.commit)
        self.shared_network = file.names_with_network()
        self.progress.reached("checkout")
        self.results.append(build_source(self.run, self.application, self.commit))
        self.progress.reached("build")
        if self._is_red():
            self._skip_rest(file)
            return None
        refuse_full_disk("packing")
        manifest = pack_release(self.run, self.application, self.commit)
        self.progress.reached("bundle")
        self._run_checks(file)
        return None if self._is_red() else manifest

    def release(self, manifest: Manifest) -> str:
        """Store the bundle, build the image, pin both as a release; its digest."""
        store_bundle(self.run, self.application, manifest.bundle.sha256)
        whole = build_image(self.run, self.application, manifest)
        release = pin_release(
            self.run,
            self.application,
            whole,
            self.requester,
            self.requester_email,
            self.branch,
            self.before,
            [result.as_dict() for result in self.results],
        )
        self.progress.reached("release")
        return release

    def end_green(self, release: str, cd_run: str) -> None:
        """Close a run that made a release."""
        self.progress.reached("done")
        self._report(release=release)
        self._record("ci.completed", release, cd_run=cd_run)
        self._tell("success", f"release {short(release)}")

    def end_superseded(self, newer: str, release: str = "") -> RunState[None]:
        """Close a run that something newer overtook: its release, if it made one, is not handed on."""
        cause = explain_superseded(self.commit, newer)
        self._report(cause=cause, release=release)
        self._record("ci.superseded", release, newer=newer, cause=cause)
        self._tell("error", cause)
        open_world().runner.remove_folder(f"ci-{self.run}")
        return Completed(name="Superseded", message=cause)

    def end_red(self, cause: str) -> None:
        """Close a run that made none: the cause in the ledger and in the report."""
        self._report(cause=cause)
        self._record("ci.failed", cause=cause[:2000], checks=[result.as_dict() for result in self.results])
        self._tell("failure", cause.partition("\n")[0])

    def _tell(self, state: State, text: str) -> None:
        tell_forge(self.run, self.application, self.commit, "ci", state, f"{text}"[:300])

    @property
    def cause(self) -> str:
        """Why the first red check is red."""
        red = first_red(self.results)
        return red.cause if red else ""

    def _is_red(self) -> bool:
        return first_red(self.results) is not None

    def _run_checks(self, file: ApplicationFile) -> None:
        """Run the unit checks side by side, then the integration checks; a red kind ends it."""
        for kind in KINDS:
            parts = [part for part in file.check if part.kind == kind]
            futures = [run_check.submit(self.run, self.application, part.name) for part in parts]
            self.results += [future.result() for future in futures]
            self.progress.reached(kind)
            if self._is_red():
                break
        self._skip_rest(file)

    def _skip_rest(self, file: ApplicationFile) -> None:
        known = {result.name for result in self.results if result.kind != "build"}
        self.results += [CheckResult(part.name, part.kind, "skipped") for part in file.check if part.name not in known]

    def _report(self, *, cause: str = "", release: str = "") -> None:
        show_report(
            self.application,
            self.commit,
            self.results,
            cause=cause,
            release=release,
            requester=self.requester,
            attempt=self.attempt,
            shared_network=self.shared_network,
        )

    def _record(self, kind: str, release: str = "", **data: object) -> None:
        facts = {"commit": self.commit, **data}
        record_ci(self.run, self.application, kind, self.attempt, self.requester, facts, release)
