"""Proving who somebody is: a one-time code is used up, and a lock that follows is written down and told.

Not a task of its own: the effects that take a person's word call it (`tasks/approval.py`), and so does the command
`slipway approver`.
"""

from datetime import UTC, datetime

from blocks.world import open_world
from domain.catalogue import say
from domain.ledger import encode_time
from domain.lockout import LOCK_S, CodeUse
from tasks.incident import notify
from tasks.recording import Subject


def take_code(subject: Subject, name: str, code: str) -> CodeUse:
    """Check a code and use it up, whatever is decided afterwards.

    Effect: the register's counts; where the name is locked now, one entry for each lock, and a message when it begins.
    """
    world = open_world()
    use = world.approvers.use_code(name, code)
    if use.locked_until is None:
        return use
    until = encode_time(use.locked_until)
    # keyed by the lock, not by the run: whoever comes next writes down what a killed process did not
    data = {"name": name, "until": until}
    world.ledger.append(subject.event("approver.locked", key=f"approver.locked:{name}:{until}", data=data))
    if use.begins_lock:
        values = {"name": name, "until": f"{use.locked_until:%Y-%m-%d %H:%M:%S} UTC"}
        notify.fn(subject.run, subject.application, subject.environment, subject.release, "approver.locked", values)
    return use


def explain_code(use: CodeUse, name: str) -> str:
    """Say why a code did not count, with the server's time and, where it is locked, when that ends."""
    language = open_world().language
    values = {"approver": name[:80], "time": f"{datetime.now(UTC):%H:%M:%S}", "minutes": LOCK_S // 60}
    if use.locked_until is not None:
        values["until"] = f"{use.locked_until.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if use.status == "wrong":
        wrong = say("approval.refused_wrong", language=language, **values)
        key = "approval.lock_begun" if use.begins_lock else "approval.tries_left"
        return f"{wrong} {say(key, language=language, left=use.left, **values)}"
    return say(f"approval.refused_{use.status}", language=language, **values)
