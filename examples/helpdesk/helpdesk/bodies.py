"""What comes in: bodies, bounded and decoded."""

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

BODY_BYTES_MAX = 256 * 1024


async def read_json(request: Request) -> dict[str, Any]:
    """Read a JSON object. Raises: HTTPException 400, 413 or 415."""
    # Other sites' pages can make a browser send forms, but not this type without asking us first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send application/json.")
    try:
        value = json.loads(await _read_body(request))
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "The body is not a JSON object.")
    return value


async def read_form(request: Request) -> dict[str, str]:
    """Read a form of one of our own pages. Raises: HTTPException 400, 403 or 413."""
    if not _is_from_our_page(request):
        raise HTTPException(403, "This form was sent from another site. Open the page here and send it again.")
    try:
        text = (await _read_body(request)).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise HTTPException(400, "The body is not a form.") from None


def _is_from_our_page(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return not origin or origin.partition("://")[2] == request.headers.get("host")


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
    return bytes(body)
