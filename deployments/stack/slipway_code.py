"""The pull step of every deployment: go to the code that this run began with.

Prefect asks the deployment where the code is each time a process starts for a run, also when a run resumes after days
of waiting. So the first process of a run writes down which copy it took, and every later one takes the same.
`slipway up` puts this file where the worker's Python finds it (`<state>/code/steps/`); only the standard library here.
"""

import os
from pathlib import Path

RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"


def enter(codes: str, current: str) -> dict[str, str]:
    """Change to the run's copy of the code in `codes`: the recorded one, or `current` for a run that begins.

    Raises: FileNotFoundError where the recorded copy is gone.
    """
    place = Path(codes) / _recorded(Path(codes) / "runs", current)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}, the code that this run began with, is gone. Start the run anew.")
    os.chdir(place)
    return {"directory": str(place)}


def _recorded(runs: Path, current: str) -> str:
    run = os.environ.get(RUN_VARIABLE, "")
    if not run:
        return current
    note = runs / run
    known = note.read_text() if note.exists() else ""
    if not known:
        draft = note.with_name(f".{run}.{os.getpid()}")
        draft.write_text(current)
        draft.replace(note)
    return known or current
