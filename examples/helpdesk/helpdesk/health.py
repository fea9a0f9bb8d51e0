"""What machines ask: are you alive, may you have traffic, how are you, who are you."""

import hashlib
import hmac

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from helpdesk import metrics
from helpdesk.desk import Desk


async def live(request: Request) -> Response:
    """The process answers: restarting it would not help, whatever else is wrong."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    desk: Desk = request.app.state.desk
    reason = await desk.why_not_ready()
    return JSONResponse({"ready": not reason, "reason": reason}, status_code=503 if reason else 200)


async def measure(request: Request) -> Response:
    desk: Desk = request.app.state.desk
    stats = desk.pool.get_stats()
    metrics.POOL_SIZE.set(stats.get("pool_size", 0))
    metrics.POOL_WAITING.set(stats.get("requests_waiting", 0))
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def version(request: Request) -> Response:
    desk: Desk = request.app.state.desk
    settings = desk.settings
    said = {
        "name": "helpdesk",
        "title": settings.title,
        "release": settings.release,
        "commit": settings.commit,
        "settings": settings.settings_version,
        "migrations": list(desk.migrations),
    }
    return JSONResponse(
        said | ({"signature": sign(settings.release, settings.signing_key)} if settings.signing_key else {})
    )


def sign(text: str, key: str) -> str:
    """Sign a text, so that who knows the key can tell that this desk said it: HMAC-SHA-256, in hexadecimal digits."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


ROUTES = [
    Route("/healthz", live),
    Route("/readyz", ready),
    Route("/metrics", measure),
    Route("/version", version),
]
