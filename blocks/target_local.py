"""Releases as processes of this machine, for one site: installed, verified, run under supervisor.

Each instance has a group of its own under the stack's supervisor, which restarts what dies and brings all back after a
reboot, so that one comes or goes without the others; each is verified before every start, also then
(`blocks/verified.py`). When Slipway is root, released code runs as the service user, which can change neither its files
nor its settings. Earlier versions had one group for all instances of a release: it is left alone until it is resized.
"""

import shutil
import tempfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
from pydantic import Field

from blocks.bundle import SOURCE
from blocks.connections import await_idle
from blocks.guarded import Disk, Guarded, Order
from blocks.identity import give, give_all
from blocks.installed_block import InstalledBlock
from blocks.instance_register import HOST, InstanceGroup, InstanceRegister, group_name, unit_name
from blocks.isolation import BUBBLEWRAP, Holder, holder
from blocks.kept_specs import KeptSpecs
from blocks.local_releases import VENV, LocalReleases
from blocks.processes import cpu_seconds_of
from blocks.resource_limits import Groups, find_groups, forget_groups, limits_in_force, plan_holds
from blocks.supervisor import Process, Program, Supervisor, tail_file
from blocks.verified import hash_file
from blocks.world import open_world
from domain.errors import ConfigError
from domain.release import Manifest
from domain.revision import release_of
from domain.service import Instance, Limits, Outcome, Resized, ServiceSpec

GIB = 1024**3
INDEXES_MAX = 1000
# bubblewrap would end, and all in it, at the signal that asks an instance to end gracefully; so it ignores that, and
# the instance, in the same process group, hears it. Its parent is this shell, not supervisor, with which it would die.
_KEEP = ("sh", "-c", "trap '' TERM; \"$@\"; exit $?", "sh")
_STATES = {
    "STARTING": "starting",
    "RUNNING": "running",
    "BACKOFF": "failed",
    "FATAL": "failed",
    "EXITED": "failed",
    "STOPPING": "stopped",
    "STOPPED": "stopped",
}


class LocalTarget(InstalledBlock):
    """Runs releases on this machine, for one site of an environment."""

    _block_type_name = "Slipway Local Target"
    _block_type_slug = "slipway-local-target"

    environment: str = Field(description="Name of the environment")
    site: str = Field(description="Name of the site in it")
    path: str = Field(
        default="/usr/local/bin:/usr/bin:/bin", description="Where commands are found, after the release's own."
    )
    address_space_gib: int = Field(default=16, ge=1, description="Most address space of a one-off command's process.")
    file_gib: int = Field(default=4, ge=1, description="Largest file that a one-off command may write.")
    memory_ratio_max: float = Field(
        default=0.5, gt=0, le=1, description="Most of the machine's memory that a one-off command may hold in all."
    )
    disk_gib: int = Field(default=16, ge=1, description="Most that a one-off command may write in all.")
    processes_max: int = Field(default=4096, ge=16, description="Most processes of a command or an instance.")
    bubblewrap: str = Field(default=BUBBLEWRAP, description="Program that isolates releases; empty: none.")
    visible: list[str] = Field(default=[], description="Paths that releases may read, besides the system's.")
    log_size_bytes_max: int = Field(default=5_000_000, ge=10_000, description="Size at which an instance's log turns.")

    def prepare(self, manifest: Manifest) -> None:
        """Bring a release's bytes here and install them; see `LocalReleases.prepare`."""
        self._releases.prepare(manifest)

    def verify(self, manifest: Manifest) -> None:
        """Compare what is installed with what was pinned; see `LocalReleases.verify`."""
        self._releases.verify(manifest)

    def read_file(self, manifest: Manifest, path: str) -> str:
        """Read a text file of the prepared release."""
        return self._releases.read_file(manifest, path)

    def run(
        self,
        manifest: Manifest,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        limit_s: float,
        requirements: str | None = None,
    ) -> Outcome:
        """Run a command of the release to its end, as the service user, in a copy of its source.

        In a copy, because commands leave things behind (caches, reports), and the release must stay what it is.

        Effect: whatever the command does. Its environment is what is given, and a path, a home and a locale.
        Raises: as `verify`.
        """
        self.verify(manifest)
        venv = self._releases.folder(manifest) / VENV
        if requirements is not None:
            venv = self._releases.extra_environment(manifest, requirements)
        user = self.installation.users.service
        with self._copy(manifest, user) as (source, home):
            order = Order(
                command=tuple(command),
                directory=source,
                environment=self._variables(venv, home) | dict(environment),
                user=user,
                limit_s=limit_s,
                limits={
                    "RLIMIT_AS": self.address_space_gib * GIB,
                    "RLIMIT_FSIZE": self.file_gib * GIB,
                    "RLIMIT_CORE": 0,
                },
                sandbox=self._holder.sandbox(
                    tmp=home / "tmp",
                    read_only=(self._releases.folder(manifest), venv, *map(Path, self.visible)),
                    writable=(source, home),
                    network=True,
                    processes_max=self.processes_max,
                ),
                disk=Disk((source, home), self.disk_gib * GIB, GIB),
                memory_bytes_max=int(self.memory_ratio_max * psutil.virtual_memory().total),
            )
            with Guarded(order) as guarded:
                return guarded.wait()

    def start(self, spec: ServiceSpec) -> list[Instance]:
        """Start the instances of a prepared release: those that run already stay, unless the spec changed.

        Effect: processes under supervisor, each on a port that nobody else has; may be repeated. Instances that the
        spec wants otherwise (other variables, other limits) are ended and started anew at their address, and those
        that it does not want are ended: for a release without users. One with users is resized.
        Raises: ConfigError where the release is not prepared; InvariantError where its bytes are not the pinned ones;
            TransientError where supervisor does not answer or no port is left.
        """
        manifest = self._releases.manifest_of(release_of(spec.release))
        self.verify(manifest)
        wanted = InstanceGroup(self._place, spec.application, spec.release, (), spec.stop_limit_s)
        register, supervisor, name = self._register, self._supervisor, wanted.name
        with register.locked(name):
            had = register.find(name)
            if name in supervisor.groups() and not self._is_as_before(spec, manifest, had):
                supervisor.remove_group(name, limit_s=spec.stop_limit_s + 10)
            indexes = [*had.places, *_unused(had)][: spec.instances] if had else range(spec.instances)
            surplus = [unit_name(name, index) for index in had.places if index not in indexes] if had else []
            supervisor.remove_groups(surplus, limit_s=spec.stop_limit_s + 10)
            group = register.claim(wanted, indexes=indexes, alive=self._alive(name))
            if name not in supervisor.groups():
                self._run_all(spec, manifest, group)
            else:
                supervisor.start(name)
        KeptSpecs(self.installation).keep(self._place, spec)
        return self._instances_of(spec)

    def resize(self, spec: ServiceSpec) -> Resized:
        """Start what a spec wants beside what runs otherwise, which is touched by nothing here; see the port.

        Effect: processes, as `start`; twice as many for a while where every instance is wanted otherwise.
        Raises: as `start`.
        """
        manifest = self._releases.manifest_of(release_of(spec.release))
        self.verify(manifest)
        wanted = InstanceGroup(self._place, spec.application, spec.release, (), spec.stop_limit_s)
        register, name = self._register, wanted.name
        with register.locked(name):
            had = register.find(name)
            same = [index for index in had.places if self._runs_so(spec, manifest, had, index)] if had else []
            kept = same[: spec.instances]
            free = _unused(had) if had else iter(range(spec.instances))
            indexes = [*kept, *(next(free) for _ in range(spec.instances - len(kept)))]
            every = {*indexes, *(had.places if had else ())}
            group = register.claim(wanted, indexes=sorted(every), alive=self._alive(name))
            chosen = {index: group.places[index] for index in indexes}
            self._run_all(spec, manifest, replace(group, ports=tuple(chosen.values()), indexes=tuple(chosen)))
        KeptSpecs(self.installation).keep(self._place, spec)
        found = self._instances_of(spec)
        return Resized(
            wanted=tuple(one for one in found if one.index in indexes),
            leaving=tuple(one for one in found if one.index not in indexes),
        )

    def retire(self, application: str, release: str, indexes: Collection[int], *, drain_s: float) -> None:
        """End these instances when nobody is connected to them any more, or `drain_s` is over; see the port.

        Effect: as `stop`, of these alone; may be repeated.
        """
        name = group_name(self._place, application, release)
        register, supervisor = self._register, self._supervisor
        with register.locked(name):
            group = register.find(name)
            going = {index: port for index, port in group.places.items() if index in indexes} if group else {}
            if group is None or not going:
                return
            await_idle(going.values(), limit_s=drain_s)
            shared = {int(process.name) for process in supervisor.processes(name)} & group.places.keys()
            if shared <= going.keys():
                supervisor.remove_group(name, limit_s=group.stop_limit_s + 10)
            elif shared & going.keys():
                raise ConfigError(
                    f"Instances {sorted(shared)} of {name} were started together by an earlier version, and end "
                    "together. Retire all of them."
                )
            self._end(name, [unit_name(name, index) for index in going], limit_s=group.stop_limit_s + 10)
            register.drop(name, going.keys())

    def stop(self, application: str, release: str) -> None:
        """End a release's instances gracefully: SIGTERM, SIGKILL at their limit; none running is no error.

        Effect: their port and home are given back, their logs stay. May be repeated.
        """
        name = group_name(self._place, application, release)
        with self._register.locked(name):
            group = self._register.find(name)
            limit_s = (group.stop_limit_s if group else 30) + 10
            self._supervisor.remove_group(name, limit_s=limit_s)
            self._end(name, group.units if group else (), limit_s=limit_s)
            self._register.release(name)
            shutil.rmtree(self._home(name), ignore_errors=True)

    def instances(self, application: str) -> list[Instance]:
        """List what should run and what of it does, of every release, by release and index."""
        groups = [
            group for group in self._register.groups() if (group.place, group.application) == (self._place, application)
        ]
        found = {(process.group, process.name): process for process in self._supervisor.processes()}
        return [
            self._instance(
                group,
                index,
                found.get((unit_name(group.name, index), str(index))) or found.get((group.name, str(index))),
            )
            for group in groups
            for index in group.places
        ]

    def cpu_seconds(self, application: str, release: str) -> float:
        """How much of a processor the release's instances have used, with all that they started."""
        found = [one.pid for one in self.instances(application) if one.release == release and one.pid]
        return sum(cpu_seconds_of(pid) for pid in found)

    def log_tail(self, application: str, release: str, *, lines: int = 40) -> str:
        """The last lines that its instances wrote, also when they have ended; each instance gets its share of lines."""
        name = group_name(self._place, application, release)
        logs = sorted(self._logs.glob(f"{name}-*.log"))
        tails = [tail_file(log, lines=max(1, lines // len(logs))) for log in logs]
        if len(tails) == 1:
            return tails[0]
        return "\n".join(
            f"[instance {log.stem.rpartition('-')[2]}]\n{tail}" for log, tail in zip(logs, tails, strict=True)
        )

    @property
    def _place(self) -> str:
        return f"{self.environment}-{self.site}"

    @property
    def _releases(self) -> LocalReleases:
        return LocalReleases(self.installation, open_store=lambda: open_world().store)

    @property
    def _register(self) -> InstanceRegister:
        return InstanceRegister(self.installation.state / "instances", self.installation.ports["instances"])

    @property
    def _supervisor(self) -> Supervisor:
        return Supervisor.of(self.installation)

    @property
    def _groups(self) -> Groups | None:
        return find_groups(self.installation.state)

    @property
    def _logs(self) -> Path:
        return self.installation.state / "logs" / "instances"

    def _instances_of(self, spec: ServiceSpec) -> list[Instance]:
        return [instance for instance in self.instances(spec.application) if instance.release == spec.release]

    def _alive(self, name: str) -> set[int]:
        """The indexes of a group's instances that live."""
        names = {name, *(unit_name(name, int(index)) for index in range(INDEXES_MAX))}
        return {int(process.name) for process in self._supervisor.processes() if process.group in names and process.pid}

    def _is_as_before(self, spec: ServiceSpec, manifest: Manifest, had: InstanceGroup | None) -> bool:
        """Whether the one group that an earlier version started is what the spec wants."""
        if had is None or len(had.places) != spec.instances:
            return False
        programs = [program for _, program in self._programs(spec, manifest, had)]
        return self._supervisor.is_written(had.name, programs)

    def _runs_so(self, spec: ServiceSpec, manifest: Manifest, had: InstanceGroup, index: int) -> bool:
        """Whether an instance is one that the spec wants."""
        one = replace(had, ports=(had.places[index],), indexes=(index,))
        return all(
            self._supervisor.is_written(unit, [program]) for unit, program in self._programs(spec, manifest, one)
        )

    def _run_all(self, spec: ServiceSpec, manifest: Manifest, group: InstanceGroup) -> None:
        """Make every instance of a group run so; those that run otherwise are stopped at the same time, first."""
        units = self._programs(spec, manifest, group)
        for unit, program in units:
            if not self._supervisor.is_written(unit, [program]):
                self._supervisor.ask_stop(unit)
        for unit, program in units:
            self._supervisor.add_group(unit, [program])

    def _end(self, name: str, units: Sequence[str], *, limit_s: float) -> None:
        self._supervisor.remove_groups(units, limit_s=limit_s)
        for unit in units:
            forget_groups(unit, groups=self._groups)

    def _instance(self, group: InstanceGroup, index: int, process: Process | None) -> Instance:
        limits, weaker = Limits(), tuple[str, ...]()
        if process and process.pid:
            unit = unit_name(group.name, index)
            limits, weaker = limits_in_force(process.pid, groups=self._groups, unit=unit)
        return Instance(
            application=group.application,
            release=group.release,
            index=index,
            url=f"http://{HOST}:{group.places[index]}",
            state=_STATES.get(process.state, "failed") if process else "stopped",
            pid=process.pid if process else None,
            since=process.since if process else None,
            limits=limits,
            weaker=weaker,
        )

    def _home(self, name: str) -> Path:
        return self.installation.state / "instances" / "homes" / name

    def _programs(self, spec: ServiceSpec, manifest: Manifest, group: InstanceGroup) -> list[tuple[str, Program]]:
        """Each instance's group under supervisor and its program; what that becomes is in its launch file, which only
        its user can read."""
        releases, user = self._releases, self.installation.users.service
        home = self._home(group.name)
        _make_home(home, user)
        self._logs.mkdir(parents=True, exist_ok=True)
        record = releases.record(manifest)
        check = (str(self.installation.python), "-I", "-S", str(releases.ensure_check()), str(record))
        variables = self._variables(releases.folder(manifest) / VENV, home) | dict(spec.environment)
        hashed = hash_file(str(record))

        def program(index: int, port: int) -> Program:
            unit = unit_name(group.name, index)
            return Program(
                name=str(index),
                command=self._isolated(manifest, home, check=(*check, hashed, *_fill(spec.command, port))),
                directory=releases.folder(manifest) / SOURCE,
                environment=variables | {"HOST": HOST, "PORT": str(port)},
                user=user,
                log=self._logs / f"{unit}.log",
                stop_limit_s=spec.stop_limit_s,
                stop_children=True,
                log_size_bytes_max=self.log_size_bytes_max,
                log_backups=2,
                holds=plan_holds(spec.limits, groups=self._groups, unit=unit),
            )

        return [(unit_name(group.name, index), program(index, port)) for index, port in group.places.items()]

    @property
    def _holder(self) -> Holder:
        return holder(self.installation, self.installation.users.service, program=self.bubblewrap)

    def _isolated(self, manifest: Manifest, home: Path, *, check: tuple[str, ...]) -> tuple[str, ...]:
        """Put an instance where it sees the system, its own release and its home; and this machine's network."""
        releases = self._releases
        sandbox = self._holder.sandbox(
            tmp=home / "tmp",
            read_only=(
                releases.folder(manifest),
                releases.record(manifest),
                releases.ensure_check(),
                *map(Path, self.visible),
            ),
            writable=(home,),
            network=True,
            processes_max=self.processes_max,
        )
        if sandbox is None:
            return check
        return (*_KEEP, *sandbox.wrap(check, directory=releases.folder(manifest) / SOURCE))

    def _variables(self, venv: Path, home: Path) -> dict[str, str]:
        """What every command of a release finds in its environment, before its own variables."""
        return {
            "PATH": f"{venv / 'bin'}:{self.path}",
            "VIRTUAL_ENV": str(venv),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "LANG": "C.UTF-8",
            # A release stays byte for byte what was installed; and its last words are in the log when it dies.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }

    @contextmanager
    def _copy(self, manifest: Manifest, user: str | None) -> Generator[tuple[Path, Path]]:
        """Lend a copy of the source and a home, both `user`'s own and gone afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="command-", dir=self.installation.folder("work")))
        try:
            folder.chmod(0o755)
            source = folder / SOURCE
            shutil.copytree(self._releases.folder(manifest) / SOURCE, source, symlinks=True)
            give_all(source, user)
            _make_home(folder / "home", user)
            yield source, folder / "home"
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make_home(home: Path, user: str | None) -> None:
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    for path in (home / "tmp", home):
        give(path, user, mode=0o700)


def _fill(command: Sequence[str], port: int) -> tuple[str, ...]:
    """Put address and port into a command."""
    return tuple(part.replace("{host}", HOST).replace("{port}", str(port)) for part in command)


def _unused(group: InstanceGroup) -> Iterator[int]:
    """Indexes that a group does not have, from the lowest on."""
    return (index for index in range(INDEXES_MAX) if index not in group.places)
