"""`capacity`: says what runs out first, when, and what to do about it; every week, and whenever somebody asks.

Reads what `collect_usage` keeps, forecasts, keeps outlooks and advice, shows them, and tells people of crossings that
come nearer than their lead time. It changes nothing but its own records.
"""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks.alerts import close_alert, open_alert, read_alarms
from tasks.incident import notify
from tasks.outlook import forecast_usage, publish_page, publish_plot


@flow(name="capacity", persist_result=True)
def capacity(resource: str = "", alerts_only: bool = False) -> dict[str, Any]:
    """Say what runs out first. The page is the artifact `capacity`.

    Args:
        resource: A resource's key, as disk:db1:/var, for its plot alone from the newest forecast. Empty: forecast all.
        alerts_only: Only forecast and alert; show no page and send no report.
    """
    run = str(flow_run.id)
    if resource:
        return {"artifact": publish_plot(run, resource)}
    outcome = forecast_usage(run)
    alarms = read_alarms()
    for key in alarms["opening"]:
        open_alert(run, key)
    for key in alarms["closing"]:
        close_alert(run, key)
    if not alerts_only:
        page = publish_page(run)
        notify(run, "", "", "", "capacity.report", page)
    return {**outcome, "opened": len(alarms["opening"]), "closed": len(alarms["closing"])}
