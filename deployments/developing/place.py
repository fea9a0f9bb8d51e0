"""The developer's place: the checkout, its `slipway.toml`, its packages, its database, middleware, variables."""

import hashlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from blocks.identity import is_root
from blocks.installation import read_installation
from blocks.middleware import Middleware, RabbitServer, RedisServer
from blocks.world import World
from domain.application import FILE, ApplicationFile, parse_application
from domain.errors import ConfigError
from domain.lock import parse_lock

ENVIRONMENT = "development"


@dataclass(frozen=True)
class Place:
    """One application's checkout, on the installation's development environment."""

    folder: Path
    world: World = field(repr=False)

    @cached_property
    def file(self) -> ApplicationFile:
        """The `slipway.toml` as it is now. Raises: ConfigError where there is none, or it is wrong."""
        path = self.folder / FILE
        if not path.is_file():
            raise ConfigError(f"No {FILE} in {self.folder}. Change to an application's checkout, or name it: --folder.")
        return parse_application(path.read_text(encoding="utf-8"), file=str(path))

    @property
    def name(self) -> str:
        return self.file.application.name

    @property
    def release(self) -> str:
        """What the load balancer calls this checkout: a digest of its path, like no release's."""
        return hashlib.sha256(f"slipway dev {self.folder}".encode()).hexdigest()

    @property
    def user(self) -> str | None:
        """Whom its processes run as: the checkout's owner, where we are root and they are not."""
        owner = self.folder.stat().st_uid
        return pwd.getpwuid(owner).pw_name if is_root() and owner != os.geteuid() else None

    def packages(self) -> Path:
        """The virtual environment with the locked packages of the service; found where it was made before."""
        path = self.folder / self.file.build.requirements
        if not path.is_file():
            raise ConfigError(f"{FILE}: key 'build.requirements' names {path.name}, which is not there. Add it.")
        return self.world.packages.environment(parse_lock(path.read_text(encoding="utf-8"), file=path.name))

    def database(self) -> dict[str, str]:
        """The development database's variable, the database made where it is missing; none where it wants none."""
        if self.file.database is None:
            return {}
        self.world.databases.ensure(self.name, ENVIRONMENT)
        return {"DATABASE_URL": self.world.databases.url(self.name, ENVIRONMENT)}

    def middleware(self) -> list[Middleware]:
        """The servers that `[middleware]` asks for, each in a folder of its own below the state; none is started."""
        kinds = {"redis": RedisServer, "rabbitmq": RabbitServer}
        wanted = self.file.middleware
        asked = [name for name, is_wanted in (("redis", wanted.redis), ("rabbitmq", wanted.rabbitmq)) if is_wanted]
        if not asked:
            return []
        folder = read_installation().folder("middleware")
        folder.chmod(0o711)  # whoever runs the servers has to reach their own folders
        return [kinds[name](folder / f"{name}-{self.name}", self.user) for name in asked]

    def variables(self) -> dict[str, str]:
        """What the service finds in its environment in development, besides the path to its packages."""
        settings = self.world.settings
        version = settings.latest(self.name, ENVIRONMENT).version
        return {
            **self.file.service.environment,
            **settings.values(self.name, ENVIRONMENT, version),
            **self.database(),
            **{server.variable: server.url() for server in self.middleware()},
            "SLIPWAY_APPLICATION": self.name,
            "SLIPWAY_ENVIRONMENT": ENVIRONMENT,
            "SLIPWAY_RELEASE": self.release,
            "SLIPWAY_COMMIT": "0" * 40,
        }

    def whole_environment(self, packages: Path) -> Mapping[str, str]:
        """Everything that a process of the checkout has in its environment: nothing of Slipway's own."""
        home = pwd.getpwnam(self.user).pw_dir if self.user else os.environ.get("HOME", "/")
        return {
            "PATH": f"{packages / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(packages),
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.variables(),
        }
