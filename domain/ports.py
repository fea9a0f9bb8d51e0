"""The roles that the outside world plays for us, as protocols.

`blocks/` fulfils each with an adapter for the real thing and an in-memory twin; one contract suite in
`tests/contracts/` runs on both. Tasks open ports by name through `blocks.world.open_world`.

Every method may raise `TransientError` (ask again), `ConfigError` (a setting is wrong) and nothing vendor-specific.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from domain.anchor import Anchor
from domain.break_glass import Mark
from domain.commit_status import CommitStatus
from domain.delivery import Commit, Ignored, Push
from domain.isolation import Isolation
from domain.ledger import Entry, Event, Link
from domain.limits import Limit
from domain.lock import Lock
from domain.lockout import CodeUse
from domain.pull_request import PullRequest
from domain.release import Image, Manifest, StoredImage
from domain.schema import LockWait
from domain.series import Series
from domain.service import Arm, Instance, Outcome, Probe, Resized, ServiceSpec
from domain.settings import SettingsVersion
from domain.traffic import Counters
from domain.usage import Gap, Interval, Keeping, Reading, Resource


class Ledger(Protocol):
    """The append-only, hash-chained record. Appending twice with one key returns the first entry."""

    def append(self, event: Event) -> Entry: ...

    def entries(
        self,
        *,
        kinds: Collection[str] = (),
        application: str = "",
        environment: str = "",
        release: str = "",
        run: str = "",
        after: int = 0,
        limit: int = 10_000,
        newest_first: bool = False,
    ) -> list[Entry]:
        """Read entries that match every filter given, oldest first unless told otherwise."""
        ...

    def links(self) -> Generator[Link]:
        """Walk the whole chain as it is stored, oldest first, in constant memory. Close it where it is left early."""
        ...


class Anchors(Protocol):
    """Copies of the ledger's head where nobody, the writer included, can change or remove them for a time."""

    def write(self, anchor: Anchor) -> None:
        """Keep an anchor; keeping the same one again is no error."""
        ...

    def read(self) -> Sequence[Anchor]:
        """Read every anchor kept, those included that somebody hid or wrote over, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A lock with an owner and an end."""

    name: str
    owner: str
    expires_at: datetime


class BreakGlass(Protocol):
    """Rollbacks by hand while the usual way is down: their marks and journals, and everybody else's hands kept off."""

    def mark(self, mark: Mark) -> None:
        """From now on refuse every effect of other runs in that environment, until it is settled."""
        ...

    def marks(self) -> list[Mark]:
        """List what was not settled yet, oldest first."""
        ...

    def guarded(self, application: str, environment: str, *, run: str) -> AbstractContextManager[None]:
        """Hold an environment for one effect of a run, beside others. Raises: RefusedError for a run that must stop."""
        ...

    def seized(self, application: str, environment: str, *, limit_s: float) -> AbstractContextManager[None]:
        """Hold an environment alone. Raises: TransientError where somebody is at work there longer than that."""
        ...

    def journal(self, run: str) -> Ledger:
        """The journal of one act; made at its first entry."""
        ...

    def unsettled(self) -> list[str]:
        """Name the acts whose journals the ledger has not taken over, oldest first."""
        ...

    def settle(self, run: str, *, halted: Collection[str]) -> None:
        """Put an act's journal away and lift its mark; the runs in `halted` stay refused in that environment."""
        ...


class Leases(Protocol):
    """Locks that expire. A refusal is a `TransientError` that prints owner and expiry."""

    def acquire(self, name: str, *, owner: str, ttl_s: float) -> Lease:
        """Take or renew the lease; the same owner may take it again."""
        ...

    def release(self, name: str, *, owner: str) -> None:
        """Give the lease back; not holding it is no error."""
        ...

    def held(self) -> list[Lease]:
        """List leases that have not expired."""
        ...


@dataclass(frozen=True, slots=True)
class Application:
    """A registered application. `forge` is `gitea` or `github`; the webhook's secret is kept apart."""

    name: str
    forge: str
    repository: str
    url: str
    branch: str = "main"


@dataclass(frozen=True, slots=True)
class ForgeAccess:
    """Where a forge's API is (`https://api.github.com`, `https://git.example.org/api/v1`), and a token for it."""

    url: str
    token: str = field(repr=False)


class Applications(Protocol):
    """The register of applications; secrets encrypted at rest."""

    def add(self, application: Application, *, webhook_secret: str) -> None: ...

    def get(self, name: str) -> Application:
        """Raises: ConfigError that lists the names known."""
        ...

    def find(self, *, forge: str, repository: str) -> Application | None: ...

    def list(self) -> list[Application]: ...

    def set_forge_access(self, name: str, access: ForgeAccess | None) -> None:
        """Keep what it takes to ask an application's forge, sealed; None forgets it."""
        ...

    def forge_access(self, name: str) -> ForgeAccess | None:
        """None where nobody ever gave us any."""
        ...

    def has_forge_access(self, name: str) -> bool:
        """Whether somebody gave us any; whoever may not read it may ask this."""
        ...

    def webhook_secret(self, name: str) -> str: ...

    def webhook_secrets(self, name: str, *, now: datetime) -> tuple[str, ...]:
        """The secrets that are good now: the present one, and the one before it until its time is over."""
        ...

    def replace_secret(self, name: str, secret: str, *, old_until: datetime) -> None:
        """Give an application another webhook secret; the present one stays good until then. The same secret again
        changes nothing but that time; a time that has passed ends the old one."""
        ...


class ApplicationSettings(Protocol):
    """Configuration and secrets of each application and environment, in versions that are only ever added."""

    def latest(self, application: str, environment: str) -> SettingsVersion:
        """The newest version, set but perhaps not live yet; version 0 where nothing was ever set."""
        ...

    def get(self, application: str, environment: str, version: int) -> SettingsVersion:
        """Raises: ConfigError where there is no such version."""
        ...

    def history(self, application: str, environment: str, *, limit: int = 100) -> list[SettingsVersion]:
        """List versions, newest first."""
        ...

    def change(
        self,
        application: str,
        environment: str,
        *,
        actor: str,
        config: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        unset: frozenset[str] = frozenset(),
    ) -> SettingsVersion:
        """Add a version with these values set and these names taken away; the newest one where nothing changes.

        A secret that is given gets a new version, whatever its value was before.

        Raises: ConfigError where a name is reserved, unknown, or a value can't be handed to a process.
        """
        ...

    def values(self, application: str, environment: str, version: int) -> dict[str, str]:
        """Every variable of a version, secrets opened: for that application's processes only, never for a log."""
        ...


class Forge(Protocol):
    """A Git forge's webhooks."""

    def is_genuine(self, *, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """Check the signature over the raw body, in constant time. Header names are lower-case."""
        ...

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        """The forge's id of this delivery. Raises: ConfigError where the header is missing."""
        ...

    def read_push(self, *, headers: Mapping[str, str], body: bytes) -> Push | Ignored:
        """Read a verified body. Raises: ConfigError where it is not what this forge sends."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A raw webhook delivery in the inbox. `status` is `waiting`, `started`, `ignored`, `replayed` or `refused`."""

    id: int
    forge: str
    repository: str
    delivery_id: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    status: str = "waiting"
    note: str = ""


class Inbox(Protocol):
    """Deliveries, durable before they are answered. The same (forge, repository, delivery id) is stored once."""

    def store(self, *, forge: str, repository: str, delivery_id: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Keep a delivery; True when it is new, False when it was there already."""
        ...

    def find(self, *, forge: str, repository: str, delivery_id: str) -> Delivery | None: ...

    def waiting(self, *, limit: int = 50) -> list[Delivery]: ...

    def settle(self, id: int, *, status: str, note: str = "") -> None: ...


class Sources(Protocol):
    """Git repositories, through cached mirrors."""

    def fetch(self, application: str, url: str) -> None:
        """Bring the mirror up to date."""
        ...

    def checkout(self, application: str, commit: str, directory: Path) -> None:
        """Write exactly this commit's files. Raises: ConfigError where the commit does not exist."""
        ...

    def commits(self, application: str, *, base: str | None, head: str, limit: int = 50) -> list[Commit]:
        """List commits in `base..head`, newest first; all of `head`'s where base is None or unknown."""
        ...

    def people(self, application: str, *, base: str | None, head: str) -> frozenset[str]:
        """Every name and address of who wrote, co-wrote or committed anything in `base..head`, without a limit; all of
        `head`'s history where base is None or unknown."""
        ...

    def is_ancestor(self, application: str, older: str, newer: str) -> bool:
        """Whether one commit is in the history of another; False where the mirror does not know either (any more)."""
        ...

    def commit_time(self, application: str, commit: str) -> int:
        """Seconds since 1970 of the commit: the clock of reproducible builds."""
        ...

    def head(self, application: str, branch: str) -> str:
        """The commit of a branch in the mirror. Raises: ConfigError that lists some of the branches there are."""
        ...


class Reviews(Protocol):
    """What a forge knows of how commits were reviewed."""

    def pull_requests(self, application: Application, access: ForgeAccess, commit: str) -> list[PullRequest]:
        """List the merged pull requests by which a commit came, with what was said of them; [] where there are none.

        Raises: TransientError where the forge does not answer or says too much; ConfigError where it refuses the token.
        """
        ...


class Runner(Protocol):
    """Runs other people's commands: not as our user where that is possible, and never with our environment."""

    def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        limit_s: float,
        log: Path | None = None,
        network: bool = False,
        servers: Path | None = None,
    ) -> Outcome:
        """Run to the end or to the limit, then end every child. The environment given is the whole environment
        besides what the runner's own allow-list passes on. Output goes to `log`; its end into the outcome.
        Where the machine can, the command has a network of its own with a way to the package registry; `network`
        asks for the machine's. `servers` is a folder with UNIX sockets whose names end in `.<port>`: servers for this
        command alone, which it finds on 127.0.0.1."""
        ...

    def isolation(self) -> Isolation:
        """How far commands are kept apart from everything else here: tried, not guessed."""
        ...

    def hand_over(self, directory: Path) -> None:
        """Make a folder and all in it the runner's user's own, so that commands may write there."""
        ...

    def folder(self, name: str) -> Path:
        """A folder for one piece of work, below which the runner's user can work; made where it is missing."""
        ...

    def remove_folder(self, name: str) -> None:
        """Take such a folder away with all that is in it; none there is no error."""
        ...


class Packages(Protocol):
    """Locked Python packages: fetched once, verified by hash; nothing of theirs runs on the way."""

    def wheels(self, lock: Lock) -> list[Path]:
        """Fetch the wheels of a lock, sorted by name. Raises: ConfigError where one is missing or has other bytes."""
        ...

    def environment(self, lock: Lock) -> Path:
        """Make a virtual environment with exactly these packages, or find the one made before; returns its folder.
        Commands that use it may not write there."""
        ...


class FlowRuns(Protocol):
    """The orchestrator, as far as one process starts another."""

    def start(self, deployment: str, *, parameters: Mapping[str, Any], idempotency_key: str, name: str = "") -> str:
        """Ask for a run of `flow/deployment` and return its id at once; the same key names the same run.
        Raises: TransientError while the orchestrator is away or does not know the deployment yet; ConfigError where
        it refuses the parameters."""
        ...


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the orchestrator says of a run. `state` is one of its types in lower case: `scheduled`, `pending`,
    `running`, `paused`, `cancelling`, `completed`, `failed`, `crashed`, `cancelled`; `since` is when it got there."""

    id: str
    flow: str
    name: str
    state: str
    message: str = ""
    since: datetime | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def has_ended(self) -> bool:
        return self.state in ("completed", "failed", "crashed", "cancelled")


class RunRecords(Protocol):
    """What became of flow runs, and the way to end one."""

    def find(self, run: str) -> RunRecord | None:
        """Read one run; None where the orchestrator does not know it (any more)."""
        ...

    def crashed(self, *, since: datetime) -> list[RunRecord]:
        """List runs that crashed since then, oldest first."""
        ...

    def late(self, *, before: datetime) -> list[RunRecord]:
        """List runs that should have started before then and have not, oldest first."""
        ...

    def unfinished(self, *, flow: str) -> list[RunRecord]:
        """List runs of a flow that have not ended."""
        ...

    def close(self, run: str, *, name: str, message: str) -> None:
        """End a run that is suspended, as completed under a name of ours; any other run is left as it is."""
        ...

    def cancel(self, run: str) -> None:
        """Ask a run to end; one that has ended is no error."""
        ...

    def crash(self, run: str, *, message: str) -> None:
        """Call a run crashed whose process died before its first line; one that is not pending is left as it is."""
        ...

    def url(self, run: str) -> str:
        """Where a person sees the run."""
        ...


class Screen(Protocol):
    """What people see of the run that this process works on. Keys are lower-case letters, digits and dashes."""

    def progress(self, key: str, *, percent: float, description: str) -> None:
        """Move a bar. Returns at once and never fails: a bar that can't be shown holds nobody up."""
        ...

    def report(self, key: str, *, markdown: str, description: str) -> str:
        """Publish a text under a key; returns its id. Raises: TransientError where it can't be shown now."""
        ...


class ObjectStore(Protocol):
    """Blobs by key, verified by SHA-256 on the way in and out."""

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        """Store a file under a key; storing the same bytes again is no error. Raises: InvariantError on other bytes."""
        ...

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        """Fetch a file. Raises: ConfigError where there is none, InvariantError where its bytes differ from sha256."""
        ...

    def exists(self, key: str) -> bool: ...


class Images(Protocol):
    """Container images, by digest."""

    def is_available(self) -> bool:
        """Whether an engine and a registry answer."""
        ...

    def build(
        self, directory: Path, *, dockerfile: str, repository: str, build_arguments: Mapping[str, str], limit_s: float
    ) -> Image:
        """Build, push, and name the image by the digest that the registry gave."""
        ...

    def pull(self, image: Image) -> None: ...

    def stored(self, images: Sequence[Image]) -> Sequence[StoredImage]:
        """Of these, those that registry or engine have, with what uses them there.

        Raises: TransientError where the registry does not answer.
        """
        ...

    def remove(self, image: Image) -> None:
        """Remove one by its digest from registry and engine; gone is no error. Raises: ConfigError where it is kept."""
        ...


class Target(Protocol):
    """A place that runs releases: processes here, containers or pods elsewhere."""

    def prepare(self, manifest: Manifest) -> None:
        """Bring a release's bytes here and install them, off-line and verified; doing it again is free."""
        ...

    def verify(self, manifest: Manifest) -> None:
        """Compare what is installed with what was pinned. Raises: InvariantError naming the first difference."""
        ...

    def read_file(self, manifest: Manifest, path: str) -> str:
        """Read a text file of the prepared release, such as its `slipway.toml`."""
        ...

    def run(
        self,
        manifest: Manifest,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        limit_s: float,
        requirements: str | None = None,
    ) -> Outcome:
        """Run a command of the release to its end, beside its instances: migrations, acceptance tests.
        `requirements` names a lock of the release to install beside it first, off-line."""
        ...

    def start(self, spec: ServiceSpec) -> list[Instance]:
        """Start the instances of a prepared release, at least once and never twice; verified before."""
        ...

    def resize(self, spec: ServiceSpec) -> Resized:
        """Start what a spec wants and does not run yet, beside what runs otherwise; nothing that runs is ended or
        touched. The same spec again starts nothing more. What is to leave, by the answer, goes by `retire`."""
        ...

    def retire(self, application: str, release: str, indexes: Collection[int], *, drain_s: float) -> None:
        """End these instances, once nobody is connected to them or `drain_s` is over, gracefully; all others stay.
        Take their share of the traffic away first. One that is gone is no error."""
        ...

    def stop(self, application: str, release: str) -> None:
        """End a release's instances gracefully; none running is no error."""
        ...

    def instances(self, application: str) -> list[Instance]:
        """List what really runs, of every release."""
        ...

    def cpu_seconds(self, application: str, release: str) -> float:
        """How much of a processor a release's living instances have used since they started; falls when one ends."""
        ...

    def log_tail(self, application: str, release: str, *, lines: int = 40) -> str:
        """The last lines that its instances wrote."""
        ...


class CommitStatuses(Protocol):
    """What a forge shows beside its commits."""

    def send(self, application: Application, access: ForgeAccess, commit: str, status: CommitStatus) -> None:
        """Set one status; the same again is no error. Raises: ConfigError where the forge refuses it."""
        ...


class Disk(Protocol):
    """The disk that holds the state folder."""

    @property
    def free_bytes_min(self) -> int:
        """How much has to stay free."""
        ...

    def free_bytes(self) -> int: ...


class Clock(Protocol):
    """What time it is, and waiting: a role of its own, so that tests of long watches take no time."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        ...

    def sleep(self, seconds: float) -> None: ...


class Prober(Protocol):
    """One HTTP GET, from outside: what a service says of itself."""

    def probe(self, url: str, host: str | None = None, timeout_s: float = 5) -> Probe:
        """Ask once and read the answer; no answer is a probe with status 0, never an error."""
        ...


class Balancer(Protocol):
    """The load balancer of one site."""

    def route(self, application: str, arms: Sequence[Arm]) -> None:
        """Make these arms, and no others, receive the application's traffic; returns once it is in force."""
        ...

    def routes(self, application: str) -> list[Arm]:
        """Read what is in force."""
        ...

    def entry(self, application: str) -> tuple[str, str]:
        """The URL of the entry and the Host header that reaches the application through it."""
        ...


class TrafficMetrics(Protocol):
    """What the load balancer counted."""

    def read(self, application: str) -> dict[str, Counters]:
        """Read the counters of every release that has some, by the first 12 digits of its digest."""
        ...


@dataclass(slots=True)
class Migrating:
    """A migration's way to its database. `variables` are for its process and hold a password; `waits` grows while it
    runs, by one for each wait for a lock that was seen."""

    variables: Mapping[str, str] = field(repr=False)
    waits: list[LockWait] = field(default_factory=list[LockWait])


class Databases(Protocol):
    """A PostgreSQL server's databases: one, with a role of its own, for each application and environment."""

    def ensure(self, application: str, environment: str) -> None: ...

    def url(self, application: str, environment: str) -> str:
        """The connection URL, with its password: never log it."""
        ...

    def rotate(self, application: str, environment: str) -> None:
        """Give the role another password: the old one is refused to whoever connects from now on."""
        ...

    def migrating(
        self, application: str, environment: str, *, lock_timeout_s: float, statement_timeout_s: float
    ) -> AbstractContextManager[Migrating]:
        """Lend a way into a database on which no statement waits for a lock, or works, longer than this; whatever
        client is used. What it makes belongs to the database's own role. Afterwards all of its sessions are ended."""
        ...

    def throwaway(self, directory: Path) -> AbstractContextManager[str]:
        """A fresh server in `directory`, gone afterwards; yields its URL."""
        ...


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who may decide. `logins` are forge log-ins and e-mail addresses that are the same person.

    `roles` are written as `domain/roles.py` reads them: `approver`, `administrator:helpdesk/staging`.
    """

    name: str
    roles: tuple[str, ...] = ("approver",)
    logins: tuple[str, ...] = ()


class Approvers(Protocol):
    """Who may decide, and the proof that it was they."""

    def enrol(self, approver: Approver) -> str:
        """Register a person; returns the provisioning URI with the seed, to be shown once."""
        ...

    def get(self, name: str) -> Approver | None: ...

    def list(self) -> list[Approver]: ...

    def change(self, approver: Approver) -> None:
        """Replace roles and log-ins of an enrolled person, at once. Raises: ConfigError where the name is unknown."""
        ...

    def renew(self, name: str) -> str:
        """Give a person a new seed; the old one is worth nothing from then on, and a lock is over. Returns the
        provisioning URI. Raises: ConfigError where the name is unknown."""
        ...

    def revoke(self, name: str) -> None:
        """Take a person out, at once; nobody of that name is no error."""
        ...

    def use_code(self, name: str, code: str) -> CodeUse:
        """Check a one-time code and use it up, whatever is decided afterwards; wrong codes are counted, and lock.
        Of several who ask at once with one code, one is told `ok`."""
        ...


class Notifier(Protocol):
    """Tells people. A message that can't be sent is a `TransientError`; callers record it and go on."""

    def send(self, subject: str, body: str) -> None: ...


class UsageSource(Protocol):
    """Something that knows how much is used: a metrics server, a database, the machine itself."""

    @property
    def name(self) -> str:
        """Its name in records and messages: kind and place, such as `prometheus:main`."""
        ...

    def read(self, interval: Interval) -> Reading:
        """Read what was used in an interval. What it can't know (the past, for a source that only sees the present)
        is no sample. Part of an answer is a reading with problems.

        Raises: TransientError where it gave nothing at all, ConfigError where a setting is wrong."""
        ...

    def limits(self) -> list[Limit]:
        """The limits that it knows of what it measures, now."""
        ...


class UsageStore(Protocol):
    """Keeps what was measured: as it came, by hours and by days."""

    def record(self, source: str, interval: Interval, reading: Reading) -> None:
        """Keep a reading; the same interval of the same source again replaces what was there, so that twice is once.
        Hours and days that it touches are summed up anew."""
        ...

    def fail(self, source: str, interval: Interval, reason: str) -> None:
        """Note that a source gave nothing for an interval: a gap with a reason."""
        ...

    def newest(self, source: str) -> datetime | None:
        """The end of the newest interval that was recorded; None for a source that is new."""
        ...

    def resources(self) -> list[Resource]: ...

    def series(self, *, step_s: int, resources: Collection[Resource] | None = None) -> list[Series]:
        """Read series for forecasting: by hours (3600) or days (86400); the newest value of a stretch for what piles
        up, its mean for what comes and goes. All resources unless told which."""
        ...

    def gaps(self, source: str, *, begin: datetime, end: datetime) -> list[Gap]:
        """Stretches without a reading, oldest first."""
        ...

    def prune(self, keeping: Keeping, *, now: datetime) -> int:
        """Forget what is older than it is kept; returns how many rows went."""
        ...
