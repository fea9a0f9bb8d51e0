"""Write the refusal of a flow run to the ledger: one JSON object on standard input, one entry.

Started by the locked worker, which itself knows nothing of our rooms.
"""

import json
import sys

from blocks.installation import read_installation
from blocks.ledger_postgres import PostgresLedger
from blocks.postgres_session import ledger_session
from domain.ledger import Event


def main() -> None:
    """Read `run`, `pool`, `reason` and `name`, and append `run.refused`. Effect: one entry for each run."""
    told = {key: str(value)[:500] for key, value in json.load(sys.stdin).items()}
    run = told.pop("run")
    ledger = PostgresLedger(ledger_session(read_installation()))
    ledger.append(Event("run.refused", run=run, key=f"run.refused:{run}", data=told))


if __name__ == "__main__":
    main()
