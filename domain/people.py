"""People by their names: the same person under a log-in, an e-mail address and the name in a commit.

Names in commits are whatever their author typed; who pushed was authenticated by the forge. So a match is a reason to
refuse, and no match proves nothing. Used where an approver is compared with those who asked (`domain/approval.py`).
"""

import re
import unicodedata
from collections.abc import Collection, Iterable

from domain.ports import Approver

_NOREPLY = re.compile(r"(?:\d+\+)?([^@+]+)@(?:users\.)?noreply\.[^@]+")


def plain_name(name: str) -> str:
    """Write a name as it is compared: without case, width, invisible signs and superfluous white space."""
    visible = "".join(sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf")
    return " ".join(visible.casefold().split())


def names_of(names: Iterable[str]) -> frozenset[str]:
    """Collect names as they are compared; a forge's no-reply address stands for its log-in too."""
    plain = {plain_name(name) for name in names}
    logins = {found.group(1) for name in plain if (found := _NOREPLY.fullmatch(name))}
    return frozenset((plain | logins) - {""})


def is_among(approver: Approver, names: Collection[str]) -> bool:
    """Decide whether an enrolled person is one of these, by name or by any of their log-ins and addresses."""
    return bool(names_of((approver.name, *approver.logins)) & names_of(names))
