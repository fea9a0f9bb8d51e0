"""The stage on which whole flows are tried: an in-memory world with one application."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from blocks.memory_world import MemoryWorld
from blocks.world import open_world
from domain.ledger import Event
from domain.release import Bundle, Manifest
from domain.revision import release_of, settings_of

APPLICATION = "desk"
FILE = """
[application]
name = "desk"
[[check]]
name = "unit"
command = ["true"]
[service]
command = ["serve", "{port}"]
[health]
start_limit_s = 1
[database]
migrate = ["migrate"]
[acceptance]
command = ["accept"]
[rollout]
steps = [{weight_percent = 20, watch_s = 6}]
watch_after_s = 5
drain_s = 0
[objectives]
requests_min = 20
warm_up_s = 0
latency_ratio_tolerance = 3.0
error_ratio_max = 0.2
"""


def approve(release: str, *, run: str, environment: str = "production") -> None:
    """Let a run bring a release to an environment, as the gate of `cd` does after an answer that counts."""
    facts = {"application": APPLICATION, "environment": environment, "release": release_of(release)}
    settings = {"settings": settings_of(release)} if settings_of(release) else {}
    event = Event("approval.granted", **facts, actor="ann", run=run, data={"decision": "approve", **settings})
    open_world().ledger.append(replace(event, key=f"approval.granted:{run}:{release}"))


@dataclass
class Stage:
    """A world with an application whose releases are named by one letter."""

    world: MemoryWorld = field(default_factory=MemoryWorld)

    def pin(self, letter: str, *, file: str = FILE, files: Mapping[str, str] | None = None) -> str:
        """Pin a release and let every site know its bytes; returns its digest."""
        manifest = _manifest(letter)
        for site in self.world.sites.values():
            site.target.add(manifest, {"slipway.toml": file, **(files or {})})
        data = {"manifest": manifest.as_dict(), "requester": "bob"}
        self.world.ledger.append(
            Event(kind="release.pinned", application=APPLICATION, release=manifest.digest, data=data)
        )
        return manifest.digest

    def digest(self, letter: str) -> str:
        """The digest that `pin` gives to a letter."""
        return _manifest(letter).digest

    def kinds(self, **filters: str) -> list[str]:
        return [entry.kind for entry in self.world.ledger.entries(**filters)]

    def serving(self, environment: str, site: str) -> dict[str, int]:
        """Who has which share, by digest; releases without a share left out."""
        arms = self.world.balancer(environment, site).routes(APPLICATION)
        return {arm.release: arm.weight_percent for arm in arms if arm.weight_percent}

    def running(self, environment: str, site: str) -> set[str]:
        return {instance.release for instance in self.world.target(environment, site).instances(APPLICATION)}


def _manifest(letter: str) -> Manifest:
    return Manifest(application=APPLICATION, commit=letter * 40, bundle=Bundle(letter * 64, 10))
