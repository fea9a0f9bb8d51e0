"""What the checks of `slipway doctor` look at, read once and only when asked for."""

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from blocks.installation import Installation, read_installation, read_secret
from deployments.stack.code import RENDERED_FILE
from deployments.stack.deploying import PrefectFile, read_prefect_file
from deployments.stack.settings import Settings
from deployments.stack.status import PartStatus, read_status
from domain.diagnosis import Finding, State
from domain.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from blocks.world import World

_ANSWER_LIMIT_S = 10.0
_PAGE = 200
# Nothing of ours is behind the operator's proxy.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Case:
    """One installation under examination."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: Path = settings.state

    @cached_property
    def installation(self) -> Installation:
        return read_installation(self.state)

    @cached_property
    def parts(self) -> list[PartStatus]:
        return read_status(self.installation)

    @cached_property
    def world(self) -> "World":
        from blocks.world import open_world

        return open_world()

    @cached_property
    def code(self) -> Path:
        """The copy of the code that was registered last. Raises: ConfigError where none was."""
        mark = self.state / "prefect" / "blocks-registered"
        if not mark.exists():
            raise ConfigError("No code was ever registered with Prefect. Run `slipway up`.")
        return self.state / "code" / mark.read_text()

    @cached_property
    def prefect_file(self) -> PrefectFile:
        path = self.code / RENDERED_FILE
        if not path.exists():
            raise ConfigError(f"{path} is gone. Run `slipway up`, which makes it again.")
        return read_prefect_file(path)

    @cached_property
    def deployments(self) -> dict[str, dict[str, Any]]:
        """What Prefect has, by deployment's name."""
        found = cast(list[dict[str, Any]], self.ask("POST", "/deployments/filter", {"limit": _PAGE}))
        return {str(one["name"]): one for one in found}

    def secret(self, name: str) -> str:
        return read_secret(name, state=self.state)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask Prefect's API.

        Raises: TransientError where it does not answer, ConfigError where it refuses us.
        """
        token = base64.b64encode(self.secret("prefect_auth").encode()).decode()
        request = urllib.request.Request(
            f"{self.installation.prefect_api_url}{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with _OPENER.open(request, timeout=_ANSWER_LIMIT_S) as answer:
                content = answer.read()
                return json.loads(content) if content else None
        except urllib.error.HTTPError as exc:
            raise ConfigError(f"Prefect answers {method} {path} with {exc.code}.") from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise TransientError(f"Prefect does not answer {method} {path}: {str(exc)[:200]}") from exc


@dataclass(slots=True)
class Notes:
    """What one check found; nothing noted means that all is well."""

    check: str
    findings: list[Finding] = field(default_factory=list[Finding])

    def broken(self, found: str, command: str) -> None:
        self._note("broken", found, command)

    def look(self, found: str, command: str) -> None:
        self._note("look", found, command)

    def well(self, found: str) -> None:
        self._note("well", found, "")

    def _note(self, state: State, found: str, command: str) -> None:
        self.findings.append(Finding(self.check, state, found, command))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)
