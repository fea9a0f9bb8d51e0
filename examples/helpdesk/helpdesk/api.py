"""The desk for programs: JSON under `/api`."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from helpdesk import articles, customers, metrics, tickets
from helpdesk.bodies import read_json
from helpdesk.desk import Desk
from helpdesk.fields import FieldError, make_slug, read_choice, read_email, read_page, read_text


async def list_tickets(request: Request) -> Response:
    query = request.query_params
    wanted = tickets.Filter(
        status=read_choice(query, "status", ("", *tickets.STATUSES), default=""),
        priority=read_choice(query, "priority", ("", *tickets.PRIORITIES), default=""),
        search=read_text(query, "q", length_max=200, default=""),
    )
    page = read_page(query)
    async with _desk(request).connection() as connection:
        found = await tickets.list_tickets(connection, wanted, page=page)
    more = len(found) > tickets.PAGE_SIZE
    return _answer({"tickets": found[: tickets.PAGE_SIZE], "next_page": page + 1 if more else None})


async def open_ticket(request: Request) -> Response:
    values = await read_json(request)
    ticket = read_ticket_fields(values)
    async with _desk(request).connection() as connection:
        id = await tickets.open_ticket(connection, **ticket)
    metrics.TICKETS_OPENED.labels("api").inc()
    return _answer({"id": id}, status_code=201, headers={"location": f"/api/tickets/{id}"})


async def read_ticket(request: Request) -> Response:
    id = request.path_params["id"]
    async with _desk(request).connection() as connection:
        ticket = await tickets.read_ticket(connection, id)
        if ticket is None:
            raise HTTPException(404, f"There is no ticket {id}.")
        comments = await tickets.list_comments(connection, id)
    return _answer({"ticket": ticket, "comments": comments})


async def change_ticket(request: Request) -> Response:
    id = request.path_params["id"]
    values = await read_json(request)
    unknown = set(values) - {"status", "priority"}
    if unknown or not values:
        raise HTTPException(400, "Send status, priority or both, and nothing else.")
    async with _desk(request).connection() as connection, connection.transaction():
        found = True
        if "priority" in values:
            priority = read_choice(values, "priority", tickets.PRIORITIES)
            found = await tickets.set_priority(connection, id, priority)
        if "status" in values:
            found = await tickets.set_status(connection, id, read_choice(values, "status", tickets.STATUSES))
        if not found:
            raise HTTPException(404, f"There is no ticket {id}.")
        ticket = await tickets.read_ticket(connection, id)
    return _answer({"ticket": ticket})


async def add_comment(request: Request) -> Response:
    id = request.path_params["id"]
    values = await read_json(request)
    side = read_choice(values, "side", ("desk", "customer"), default="desk")
    async with _desk(request).connection() as connection:
        comment_id = await tickets.add_comment(
            connection,
            id,
            author=read_text(values, "author", length_max=120),
            from_desk=side == "desk",
            body=read_text(values, "body", length_max=20_000),
        )
    if comment_id is None:
        raise HTTPException(404, f"There is no ticket {id}.")
    metrics.COMMENTS_ADDED.labels(side).inc()
    return _answer({"id": comment_id}, status_code=201)


async def list_customers(request: Request) -> Response:
    search = read_text(request.query_params, "q", length_max=100, default="")
    async with _desk(request).connection() as connection:
        found = await customers.list_customers(connection, search=search, page=read_page(request.query_params))
    return _answer({"customers": found})


async def search_articles(request: Request) -> Response:
    search = read_text(request.query_params, "q", length_max=200, default="")
    async with _desk(request).connection() as connection:
        found = await articles.search_articles(connection, search)
    return _answer({"articles": [{"slug": one.slug, "title": one.title} for one in found]})


async def write_article(request: Request) -> Response:
    article = read_article_fields(await read_json(request))
    async with _desk(request).connection() as connection:
        slug = await articles.write_article(connection, slug=make_slug(article["title"]), **article)
    return _answer({"slug": slug}, status_code=201, headers={"location": f"/api/articles/{slug}"})


async def read_article(request: Request) -> Response:
    slug = request.path_params["slug"]
    async with _desk(request).connection() as connection:
        article = await articles.read_article(connection, slug)
    if article is None:
        raise HTTPException(404, f"There is no article '{slug}'.")
    return _answer({"slug": article.slug, "title": article.title, "body": article.body})


def read_ticket_fields(values: dict[str, Any] | dict[str, str]) -> dict[str, str]:
    """Take what a new ticket needs. Raises: FieldError."""
    email = read_email(values, "email")
    return {
        "email": email,
        "name": read_text(values, "name", length_max=120, default=email.partition("@")[0]),
        "subject": read_text(values, "subject", length_max=200),
        "body": read_text(values, "body", length_max=20_000),
        "priority": read_choice(values, "priority", tickets.PRIORITIES, default="normal"),
    }


def read_article_fields(values: dict[str, Any] | dict[str, str]) -> dict[str, str]:
    """Take what an article needs. Raises: FieldError."""
    return {
        "title": read_text(values, "title", length_max=200),
        "body": read_text(values, "body", length_max=50_000),
    }


def explain_field_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FieldError)
    return JSONResponse({"error": str(error), "field": error.field}, status_code=422)


def _desk(request: Request) -> Desk:
    return request.app.state.desk


def _answer(value: Any, *, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(_plain(value), status_code=status_code, headers=headers)


def _plain(value: Any) -> Any:
    """Turn our facts into what JSON knows."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


ROUTES = [
    Route("/api/tickets", list_tickets, methods=["GET"]),
    Route("/api/tickets", open_ticket, methods=["POST"]),
    Route("/api/tickets/{id:int}", read_ticket, methods=["GET"]),
    Route("/api/tickets/{id:int}", change_ticket, methods=["PATCH"]),
    Route("/api/tickets/{id:int}/comments", add_comment, methods=["POST"]),
    Route("/api/customers", list_customers, methods=["GET"]),
    Route("/api/articles", search_articles, methods=["GET"]),
    Route("/api/articles", write_article, methods=["POST"]),
    Route("/api/articles/{slug}", read_article, methods=["GET"]),
]
