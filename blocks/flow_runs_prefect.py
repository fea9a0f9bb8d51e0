"""Flow runs by Prefect's client: how the door starts `ci` and `ci` starts `cd`.

The idempotency key makes asking twice harmless, so a failure that may be a lost answer is a `TransientError`.
"""

from collections.abc import Mapping
from typing import Any

from domain.errors import ConfigError, TransientError

_REFUSED = {400, 409, 422}


class PrefectFlowRuns:
    """Fulfils `domain.ports.FlowRuns` on the API that the environment names (`PREFECT_API_URL`)."""

    def start(self, deployment: str, *, parameters: Mapping[str, Any], idempotency_key: str, name: str = "") -> str:
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

        try:
            with get_client(sync_client=True) as client:
                known = client.read_deployment_by_name(deployment)
                run = client.create_flow_run_from_deployment(
                    known.id, parameters=dict(parameters), idempotency_key=idempotency_key, name=name or None
                )
        except ObjectNotFound as exc:
            raise TransientError(f"Prefect has no deployment '{deployment}'. Run `slipway up`.") from exc
        except PrefectHTTPStatusError as exc:
            raise _explain(deployment, exc) from exc
        except (httpx.HTTPError, OSError, RuntimeError) as exc:
            raise TransientError(f"Prefect does not answer: {str(exc)[:256]}. Look at `slipway status`.") from exc
        return str(run.id)


def _explain(deployment: str, error: Any) -> ConfigError | TransientError:
    status = error.response.status_code
    if status in _REFUSED:
        return ConfigError(f"Prefect refuses to start '{deployment}' ({status}): {error.response.text[:256]}")
    return TransientError(f"Prefect did not start '{deployment}' ({status}). Look at `slipway status`.")
