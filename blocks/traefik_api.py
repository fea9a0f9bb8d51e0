"""Traefik's API of one site, read only: what is in force, what was counted.

Used by the load balancer's and the metrics' adapter. Traefik gives both on one loopback port of the site.
"""

import http.client
import json
from dataclasses import dataclass
from typing import Any

from blocks.installation import Installation
from domain.errors import ConfigError, TransientError

_CALL_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class TraefikApi:
    """One Traefik: the port of its API and metrics, and the site's name for messages."""

    port: int
    place: str

    @classmethod
    def of(cls, installation: Installation, place: str) -> "TraefikApi":
        """The Traefik of a site, `place` being `<environment>-<site>`."""
        return cls(port=find_port(installation, f"metrics-{place}"), place=place)

    def read_json(self, path: str) -> Any:
        """Read one resource of the API; None where Traefik has no such thing."""
        text = self.read_text(path)
        if text is None:
            return None
        try:
            return json.loads(text)
        except ValueError as exc:
            raise TransientError(f"Traefik of {self.place} gave no JSON at {path}: {text[:80]!r}.") from exc

    def read_text(self, path: str) -> str | None:
        """Read one page; None where there is none.

        Raises: TransientError where Traefik does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CALL_LIMIT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as exc:
            raise TransientError(
                f"Traefik of {self.place} does not answer at 127.0.0.1:{self.port}{path}: {exc}. Run `slipway status`."
            ) from exc
        finally:
            connection.close()
        if response.status == http.HTTPStatus.NOT_FOUND:
            return None
        if response.status != http.HTTPStatus.OK:
            raise TransientError(f"Traefik of {self.place} answered {response.status} at {path}: {body[:256]}")
        return body


def find_port(installation: Installation, name: str) -> int:
    """The port of this name. Raises: ConfigError that lists the names known."""
    try:
        return installation.ports[name]
    except KeyError as exc:
        raise ConfigError(f"No port named '{name}'. Known are: {', '.join(sorted(installation.ports))}.") from exc
