"""Where the data of applications lies, as the releases that are live in production say: suites, buckets, references.

Read by backups, drills and recoveries.
"""

from blocks.world import open_world
from domain.application import DataPart
from domain.errors import SlipwayError
from tasks.approval import read_live
from tasks.instances import read_application_file

PRODUCTION = "production"
OWN_BUCKETS = ("releases", "archives", "anchors", "state-files")
"""The buckets of Slipway itself that are copied, and the state folder's own files, copied as if they were a bucket."""


def read_data(application: str, environment: str = PRODUCTION) -> DataPart | None:
    """The table `[data]` of the release that is live in an environment; None where there is none, or no such release.

    Raises: as `read_application_file`.
    """
    live = read_live.fn(application, environment)
    if not live:
        return None
    site = open_world().environment(environment).primary.name
    return read_application_file(application, environment, site, live).data


def find_buckets() -> tuple[str, ...]:
    """Name every bucket that is backed up: our own, then those that applications declare.

    An application whose file can't be read adds none; its drill says so.
    """
    found: list[str] = [*OWN_BUCKETS]
    for application in open_world().applications.list():
        try:
            data = read_data(application.name)
        except SlipwayError:
            continue
        found += list(data.buckets) if data else []
    return tuple(dict.fromkeys(found))
