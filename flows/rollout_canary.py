"""A release takes production: standby first, then the primary in judged steps, with the old one warm beside it.

The subflow of `cd` for environments with `entry: canary`. It decides nothing that a person must decide: where traffic
was too little to judge it returns `unclear` and the step, and `cd` asks. A bad verdict rolls back at once, on every
site.
"""

from prefect import flow

from blocks.world import open_world
from domain.application import ApplicationFile
from domain.catalogue import say
from domain.judgement import Judgement, Verdict, explain_judgement
from domain.release import short
from domain.rollout import Step, plan_steps
from flows.resizing import settle_scales
from flows.restoring import restore_release
from flows.starting import bring_up_site, check_entry, clear_site, prepare_sites
from flows.watching import Watch
from tasks.approval import read_live
from tasks.incident import block_digest, open_incident
from tasks.lease import LeaseKeeper, environment_lease, held_lease
from tasks.report import Progress, publish_report
from tasks.rollout import read_closed, read_file, record_rollout, record_verdict
from tasks.traffic import drain, record_switch, shift_traffic


@flow(name="rollout-canary", flow_run_name="{application} to {environment}, step {first_step}", persist_result=True)
def rollout_canary(
    run: str, application: str, environment: str, release: str, expected_live: str, first_step: int, attempt: int
) -> dict[str, str]:
    """Bring a release to an environment with users.

    Args:
        expected_live: what was live when this was approved; anything else now is refused as drift.
        first_step: 0 to start; a step's number to go on there after a person decided.
        attempt: tells the watches of one step apart when it is watched again.

    Returns: `outcome` (`completed`, `failed`, `rolled_back`, `unclear`, `drifted`), `cause`, `report` (markdown) and
    for `unclear` the `step`.
    """
    with held_lease(environment_lease(application, environment), owner=run) as keeper:
        closed = read_closed(run, application, environment)
        if closed.outcome:
            return {"outcome": closed.outcome, "cause": closed.cause, "report": ""}
        live = read_live(application, environment)
        if live != expected_live:
            return {"outcome": "drifted", "cause": f"live is {short(live) or 'nothing'} now", "report": ""}
        rollout = _Rollout(run, application, environment, release, live, attempt, keeper)
        if first_step == 0:
            problem = rollout.begin()
            if problem:
                return rollout.fail(problem)
        return rollout.run_steps(first_step)


class _Rollout:
    """One rollout of one release to one environment, while its lease is held."""

    def __init__(
        self,
        run: str,
        application: str,
        environment: str,
        release: str,
        live: str,
        attempt: int,
        keeper: LeaseKeeper,
    ) -> None:
        self.place = (run, application, environment)
        self.release = release
        self.live = live
        self.attempt = attempt
        self.keeper = keeper
        self.world = open_world()
        self.environment = self.world.environment(environment)

    def begin(self) -> str:
        """Prepare every site, take the standbys, and start beside the live release on the primary."""
        run, application, environment = self.place
        settle_scales(run, application, environment, self.keeper)
        record_rollout(run, application, environment, self.release, "rollout.begun", {"previous": self.live})
        problem = prepare_sites(run, application, environment, self.release)
        for site in self.environment.standbys:
            problem = problem or bring_up_site(run, application, environment, site.name, self.release)
            if not problem:
                self._share(site.name, 100, detail="standby")
                record_switch(run, application, environment, site.name, self.release)
                problem = check_entry(run, application, environment, site.name, self.release)
        return problem or bring_up_site(run, application, environment, self.environment.primary.name, self.release)

    def run_steps(self, first_step: int) -> dict[str, str]:
        """Take the primary's steps from a number on, each judged, to full share."""
        _, application, environment = self.place
        primary = self.environment.primary.name
        file = read_file(application, environment, primary, self.release)
        steps = list(plan_steps(file.rollout, has_live=bool(self.live)))
        watch = Watch(
            application=application, environment=environment, site=primary, release=self.release, live=self.live
        )
        progress = Progress(key=f"rollout-{application}-{environment}", description=short(self.release), steps=steps)
        judgement: Judgement | None = None
        for step in steps:
            if step.number < first_step:
                continue
            judgement = self._take_step(step, steps=steps, watch=watch, file=file, progress=progress)
            if judgement.verdict is Verdict.FAIL:
                return self.roll_back(judgement)
            # with nothing to go back to there is nothing to ask: the verdict stands in the ledger as what it is
            if judgement.verdict is Verdict.UNCLEAR and self.live:
                return self._unclear(step, judgement)
        return self.complete(judgement, drain_s=file.rollout.drain_s)

    def _take_step(
        self, step: Step, *, steps: list[Step], watch: Watch, file: ApplicationFile, progress: Progress
    ) -> Judgement:
        run, application, environment = self.place
        primary = self.environment.primary.name
        self.keeper.check()
        self._share(primary, step.weight_percent, detail=f"step-{step.number}-{self.attempt}")
        if step.weight_percent == 100:
            record_switch(run, application, environment, primary, self.release, str(self.attempt))
        is_last_step = step.number >= len(steps) - 1
        judgement = watch.watch_step(step, file=file, keeper=self.keeper, progress=progress, is_last_step=is_last_step)
        record_verdict(run, application, environment, primary, self.release, step.number, self.attempt, judgement)
        return judgement

    def _share(self, site: str, percent: int, *, detail: str) -> None:
        run, application, environment = self.place
        shares = ((self.release, percent), (self.live, 100 - percent)) if self.live else ((self.release, percent),)
        shift_traffic(run, application, environment, site, shares, detail)

    def complete(self, judgement: Judgement | None, *, drain_s: int) -> dict[str, str]:
        """Keep the old release warm for an instant rollback, end all others, and close the rollout."""
        run, application, environment = self.place
        drain(drain_s, f"complete-{environment}")
        for site in self.environment.sites:
            clear_site(run, application, environment, site.name, keep=(self.release, self.live))
        record_rollout(run, application, environment, self.release, "rollout.completed", {"previous": self.live})
        report = self._report(judgement, "completed")
        return {"outcome": "completed", "cause": "", "report": report}

    def roll_back(self, judgement: Judgement) -> dict[str, str]:
        """Bring the live release back everywhere, block the digest, open an incident, close the rollout."""
        run, application, environment = self.place
        language = self.world.language
        report = explain_judgement(judgement, language=language)
        cause = report.splitlines()[0].replace("**", "")
        not_restored = restore_release(
            run=run, application=application, environment=environment, to=self.live, bad=self.release, attempt="verdict"
        )
        block_digest(run, application, self.release, cause, self.live, environment)
        data = {"to": self.live, "cause": cause, "verified": not_restored or "yes"}
        record_rollout(run, application, environment, self.release, "rollout.rolled_back", data)
        title = say(
            "incident.rolled_back",
            language=language,
            environment=environment,
            previous=short(self.live) or "–",
        )
        severity = "P0" if not_restored else "P2"
        open_incident(run, application, environment, self.release, severity, title, cause)
        return {"outcome": "rolled_back", "cause": cause, "report": self._report(judgement, "rolled back")}

    def fail(self, problem: str) -> dict[str, str]:
        """Leave production as it was: what never became healthy had no users; a standby that switched goes back."""
        run, application, environment = self.place
        not_restored = restore_release(
            run=run,
            application=application,
            environment=environment,
            to=self.live,
            bad=self.release if self.release != self.live else "",
            drain_s=1,
            attempt="failed",
        )
        cause = problem if not not_restored else f"{problem}\nAfterwards: {not_restored}"
        record_rollout(run, application, environment, self.release, "rollout.failed", {"cause": cause[:2000]})
        title = say("incident.rollout_failed", language=self.world.language, environment=environment)
        open_incident(run, application, environment, self.release, "P0" if not_restored else "P3", title, cause)
        return {"outcome": "failed", "cause": cause, "report": cause}

    def _unclear(self, step: Step, judgement: Judgement) -> dict[str, str]:
        report = explain_judgement(judgement, language=self.world.language)
        return {"outcome": "unclear", "cause": report.splitlines()[0], "report": report, "step": str(step.number)}

    def _report(self, judgement: Judgement | None, outcome: str) -> str:
        run, application, environment = self.place
        text = explain_judgement(judgement, language=self.world.language) if judgement else ""
        title = f"## {application} {short(self.release)}: {environment} {outcome}\n\n{text}"
        publish_report(f"verdict-{application}-{environment}", title, f"{outcome}, run {run}")
        return title
