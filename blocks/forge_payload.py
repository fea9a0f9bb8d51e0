"""What Gitea's and GitHub's webhooks have in common: an HMAC over the raw body, and a push as JSON.

The two adapters in `forge_gitea.py` and `forge_github.py` differ in header names and in how a signature is written.
A forge is chosen by the URL, never by a header: Gitea sends GitHub's headers too.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.delivery import Ignored, Push
from domain.errors import ConfigError

_DELIVERY_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

# No control characters: what is read here goes into a database, a page and a log.
_Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=512)]
_Sha = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Person(_Body):
    login: _Line | None = None
    username: _Line | None = None
    name: _Line | None = None
    full_name: _Line | None = None
    email: _Line | None = None


class _Repository(_Body):
    full_name: _Line


class _PushBody(_Body):
    ref: _Line
    before: _Sha
    after: _Sha
    repository: _Repository
    pusher: _Person
    sender: _Person | None = None


def signature_of(body: bytes, secret: str) -> str:
    """HMAC-SHA-256 of the raw body, as 64 lower-case hexadecimal digits."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_same_signature(given: str, expected: str) -> bool:
    """Compare in constant time; whatever was given, ASCII or not, is an answer and no error."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def read_delivery_id(headers: Mapping[str, str], header: str) -> str:
    """Read the forge's id of a delivery.

    Raises:
        ConfigError: where the header is missing or no id.
    """
    value = headers.get(header, "")
    if not _DELIVERY_ID.fullmatch(value):
        raise ConfigError(f"Header {header} is missing or not an id of up to 128 letters, digits and . : _ - signs.")
    return value


def read_event(*, headers: Mapping[str, str], body: bytes, event: str, delivery_id: str) -> Push | Ignored:
    """Read a verified body of the event that the forge named.

    Raises:
        ConfigError: where no event is named or the body is not what these forges send for it.
    """
    if not event:
        raise ConfigError("The header that names the event is missing. Send the delivery as the forge made it.")
    value = _read_json(_unwrap_form(headers, body))
    if event != "push":
        return Ignored(delivery_id, f"a '{event[:40]}' event starts nothing")
    try:
        push = _PushBody.model_validate(value)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in exc.errors()[:5]
        )
        raise ConfigError(f"The body is no push as this forge sends it: {problems[:256]}.") from exc
    return _as_push(push, delivery_id)


def _as_push(push: _PushBody, delivery_id: str) -> Push | Ignored:
    kind, _, branch = push.ref.removeprefix("refs/").partition("/")
    if kind != "heads" or not branch:
        return Ignored(delivery_id, f"{push.ref} is not a branch")
    sender = push.sender.login if push.sender else None
    return Push(
        delivery_id=delivery_id,
        repository=push.repository.full_name,
        branch=branch,
        before=push.before,
        after=push.after,
        pusher=push.pusher.login or sender or push.pusher.name or "",
        pusher_email=push.pusher.email or "",
        pusher_names=tuple(dict.fromkeys(_names(push.pusher) + (_names(push.sender) if push.sender else []))),
    )


def _names(person: _Person) -> list[str]:
    return [name for name in (person.login, person.username, person.name, person.full_name, person.email) if name]


def _unwrap_form(headers: Mapping[str, str], body: bytes) -> bytes:
    """Take the JSON out of a form: the other content type that both forges offer."""
    if not headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return body
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)
    except ValueError as exc:
        raise ConfigError("The body is not a form, though its content type says so.") from exc
    return fields.get("payload", [""])[0].encode("utf-8", "surrogateescape")


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:  # ValueError: no JSON, no UTF-8, a number of thousands of digits
        raise ConfigError(f"The body of {len(body)} bytes is not JSON: {str(exc)[:128]}.") from exc
