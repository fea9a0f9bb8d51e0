"""The load balancer of one site: a Traefik of its own, told by files and asked through its API.

One file for each application in `STATE/traefik/<environment>-<site>/dynamic/` (`blocks/traefik_config.py` writes what
stands in it). The file says what is meant; only the API says what is in force.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from blocks.installed_block import InstalledBlock
from blocks.traefik_api import TraefikApi, find_port
from blocks.traefik_config import Timing, host_of, is_shown, read_arms, render_routes, services_of
from domain.errors import ConfigError, TransientError
from domain.service import Arm, check_arms

_POLL_S = 0.05


class TraefikBalancer(InstalledBlock):
    """Shares an application's traffic on one site between its releases, without losing a request."""

    _block_type_name = "Slipway Traefik Balancer"
    _block_type_slug = "slipway-traefik-balancer"

    environment: str = Field(description="Name of the environment")
    site: str = Field(description="Name of the site in it")
    settle_limit_s: float = Field(default=15, gt=0, description="How long Traefik may take to put a change in force")
    check_interval_s: float = Field(default=1, ge=0.1, description="Pause between health checks of an instance")
    answer_limit_s: float = Field(default=60, gt=0, description="How long an instance may take to begin its answer")

    def route(self, application: str, arms: Sequence[Arm]) -> None:
        """Make these arms, and no others, receive the application's traffic; returns once it is in force.

        Arms of weight 0 stay configured, so that one more call gives them a share. No arms take the application away.

        Effect: one file, replaced whole; may be repeated. Requests under way end where they began.
        Raises: ConfigError where the arms are wrong (`check_arms`); TransientError where Traefik does not answer or
            does not take the change in time.
        """
        check_arms(arms)
        timing = Timing(check_interval_s=self.check_interval_s, answer_limit_s=self.answer_limit_s)
        wanted = render_routes(application, arms, timing) if arms else {}
        if self._read_file(application) != wanted:
            self._write_file(application, wanted)
        deadline = time.monotonic() + self.settle_limit_s
        while not self._is_in_force(application, wanted):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"Traefik of {self._place} did not take the routes of {application} within "
                    f"{self.settle_limit_s:g} s. Read its log (`slipway status` says where), then try again."
                )
            time.sleep(_POLL_S)

    def routes(self, application: str) -> list[Arm]:
        """Read what is in force: every configured arm, by falling share, with its release's whole digest."""
        return read_arms(application, self._services(application))

    def entry(self, application: str) -> tuple[str, str]:
        """The URL of the entry and the Host header that reaches the application through it."""
        port = find_port(self.installation, f"entry-{self._place}")
        return f"http://127.0.0.1:{port}", host_of(application)

    @property
    def _place(self) -> str:
        return f"{self.environment}-{self.site}"

    @property
    def _api(self) -> TraefikApi:
        return TraefikApi.of(self.installation, self._place)

    def _is_in_force(self, application: str, wanted: Mapping[str, Any]) -> bool:
        """Whether Traefik has exactly these services, and a router that leads to them; or neither."""
        services = self._services(application)
        router = self._api.read_json(f"/api/http/routers/{application}@file")
        if not wanted:
            return not services and router is None
        parts = cast(dict[str, dict[str, Any]], wanted["http"])
        return (
            services.keys() == parts["services"].keys()
            and is_shown(parts["services"], services)
            and is_shown(parts["routers"][application] | {"status": "enabled"}, router)
        )

    def _services(self, application: str) -> dict[str, Mapping[str, Any]]:
        return services_of(application, self._api.read_json("/api/http/services?per_page=100000") or [])

    def _file(self, application: str) -> Path:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", application):
            raise ConfigError(f"'{application}' is no name of an application. Use lower-case letters, digits and -.")
        return self.installation.state / "traefik" / self._place / "dynamic" / f"{application}.yml"

    def _read_file(self, application: str) -> Mapping[str, Any]:
        try:
            return cast(dict[str, Any], json.loads(self._file(application).read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def _write_file(self, application: str, wanted: Mapping[str, Any]) -> None:
        """Replace the file whole. The draft stands beside the folder, since Traefik reads all that is in it."""
        path = self._file(application)
        if not wanted:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.parent.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(wanted, indent=1))  # JSON is YAML
        draft.chmod(0o644)
        draft.replace(path)
