"""The application: its routes, what happens at start and end, and what becomes of errors."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg_pool import PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from helpdesk import api, health, metrics, pages
from helpdesk.database import make_pool
from helpdesk.desk import Desk
from helpdesk.envelope import Envelope
from helpdesk.fields import FieldError
from helpdesk.migrate import read_migrations
from helpdesk.settings import Settings

log = logging.getLogger("helpdesk")

_TITLES = {403: "Not from here", 404: "Not found", 405: "Not like this", 413: "Too large", 415: "Not this type"}


def make_desk(settings: Settings) -> Desk:
    """Put together what one process holds; nothing is opened yet."""
    return Desk(settings, make_pool(settings), [migration.name for migration in read_migrations()])


def make_app(desk: Desk) -> ASGIApp:
    """Build the ASGI application around a desk."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        metrics.BUILD.labels(desk.settings.release, desk.settings.commit).set(1)
        pages.warm_up()
        await desk.pool.open(wait=False)
        log.info("service.started", extra={"release": desk.settings.release, "commit": desk.settings.commit})
        yield
        await desk.pool.close()
        log.info("service.stopped")

    app = Starlette(
        routes=[*health.ROUTES, *api.ROUTES, *pages.ROUTES],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _explain_http,
            FieldError: _explain_field,
            psycopg.DataError: _explain_data,
            psycopg.OperationalError: _explain_database,
            PoolTimeout: _explain_database,
            500: _explain_bug,
        },
    )
    app.state.desk = desk
    return Envelope(app, desk)


def _explain(request: Request, status_code: int, title: str, text: str) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": text}, status_code=status_code)
    return pages.show_problem(request, status_code=status_code, title=title, text=text)


def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _explain(request, error.status_code, _TITLES.get(error.status_code, "That did not work"), error.detail)
    response.headers.update(error.headers or {})
    return response


def _explain_field(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return api.explain_field_error(request, error)
    return _explain(request, 422, "We can't take this", str(error))


def _explain_data(request: Request, error: Exception) -> Response:
    return _explain(request, 400, "We can't take this", "A value has signs that the database does not store.")


def _explain_database(request: Request, error: Exception) -> Response:
    log.warning("database.unavailable", extra={"reason": f"{type(error).__name__}: {error}"[:256]})
    response = _explain(request, 503, "One moment", "The database does not answer. Please try again in a moment.")
    response.headers["retry-after"] = "2"
    return response


def _explain_bug(request: Request, error: Exception) -> Response:
    return _explain(request, 500, "Our mistake", "Something went wrong here. It has been written down.")
