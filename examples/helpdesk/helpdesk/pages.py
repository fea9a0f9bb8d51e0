"""The desk for people: pages made on the server, forms that work without a script."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from helpdesk import articles, customers, metrics, news, tickets
from helpdesk.api import read_article_fields, read_ticket_fields
from helpdesk.bodies import read_form
from helpdesk.desk import Desk
from helpdesk.fields import FieldError, make_slug, read_choice, read_page, read_text

FOLDER = Path(__file__).resolve().parent
NEWS = news.read_news(news.FILE.read_text(encoding="utf-8")) if news.FILE.exists() else None


def say_age(then: datetime, now: datetime | None = None) -> str:
    """Say how long ago something was, as people do: `just now`, `5 minutes ago`, `3 days ago`."""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def mark_found(excerpt: str) -> Markup:
    """Escape an excerpt and frame the words that the search found."""
    text = str(escape(excerpt))
    return Markup(text.replace(articles.FOUND_START, "<mark>").replace(articles.FOUND_END, "</mark>"))


def make_initials(name: str) -> str:
    """Make the two letters of a person's badge."""
    words = name.split() or ["?"]
    return (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()


def _make_templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"age": say_age, "found": mark_found, "initials": make_initials}
    return environment


TEMPLATES = _make_templates()


def warm_up() -> None:
    """Compile every template, so that the first visitor of a new release does not wait for it."""
    for name in TEMPLATES.list_templates():
        TEMPLATES.get_template(name)


async def show_home(request: Request) -> Response:
    async with _desk(request).connection() as connection:
        counts = await tickets.count_tickets(connection)
        newest = await tickets.list_tickets(connection, tickets.Filter(status="open"))
        found = await articles.search_articles(connection)
    return _page(request, "home.html", counts=counts, tickets=newest[:8], articles=found[:5], news=NEWS)


async def list_tickets(request: Request) -> Response:
    query = request.query_params
    status = read_choice(query, "status", ("all", *tickets.STATUSES), default="all")
    priority = read_choice(query, "priority", ("all", *tickets.PRIORITIES), default="all")
    search = read_text(query, "q", length_max=200, default="")
    page = read_page(query)
    wanted = tickets.Filter(status=status.replace("all", ""), priority=priority.replace("all", ""), search=search)
    async with _desk(request).connection() as connection:
        counts = await tickets.count_tickets(connection)
        found = await tickets.list_tickets(connection, wanted, page=page)

    def link(**changes: str | int) -> str:
        kept = {"status": status, "priority": priority, "q": search, **changes}
        return "/tickets?" + urlencode({name: value for name, value in kept.items() if value not in ("all", "", 1)})

    return _page(
        request,
        "tickets.html",
        counts=counts,
        tickets=found[: tickets.PAGE_SIZE],
        more=len(found) > tickets.PAGE_SIZE,
        page=page,
        status=status,
        priority=priority,
        search=search,
        link=link,
    )


async def write_ticket(request: Request) -> Response:
    return _page(request, "ticket_new.html", values={}, error=None)


async def open_ticket(request: Request) -> Response:
    form = await read_form(request)
    try:
        fields = read_ticket_fields(form)
    except FieldError as error:
        return _page(request, "ticket_new.html", status_code=422, values=form, error=error)
    async with _desk(request).connection() as connection:
        id = await tickets.open_ticket(connection, **fields)
    metrics.TICKETS_OPENED.labels("page").inc()
    return _go(f"/tickets/{id}")


async def show_ticket(request: Request) -> Response:
    return await _show_ticket(request, error=None)


async def _show_ticket(request: Request, *, error: FieldError | None) -> Response:
    id = request.path_params["id"]
    async with _desk(request).connection() as connection:
        ticket = await tickets.read_ticket(connection, id)
        if ticket is None:
            raise HTTPException(404, f"There is no ticket {id}.")
        comments = await tickets.list_comments(connection, id)
        others = await tickets.list_tickets(connection, tickets.Filter(customer_id=ticket.customer_id))
    others = [other for other in others if other.id != id][:5]
    return _page(
        request,
        "ticket.html",
        status_code=422 if error else 200,
        ticket=ticket,
        comments=comments,
        others=others,
        error=error,
    )


async def reply(request: Request) -> Response:
    id = request.path_params["id"]
    form = await read_form(request)
    try:
        side = read_choice(form, "side", ("desk", "customer"), default="desk")
        author = read_text(form, "author", length_max=120, default="Support")
        body = read_text(form, "body", length_max=20_000)
        then = read_choice(form, "then", ("send", "close"), default="send")
    except FieldError as error:
        return await _show_ticket(request, error=error)
    async with _desk(request).connection() as connection, connection.transaction():
        comment = await tickets.add_comment(connection, id, author=author, from_desk=side == "desk", body=body)
        if comment is None:
            raise HTTPException(404, f"There is no ticket {id}.")
        if then == "close":
            await tickets.set_status(connection, id, "closed")
    metrics.COMMENTS_ADDED.labels(side).inc()
    return _go(f"/tickets/{id}")


async def move_ticket(request: Request) -> Response:
    id = request.path_params["id"]
    form = await read_form(request)
    status = read_choice(form, "status", ("open", "closed"))
    async with _desk(request).connection() as connection:
        if not await tickets.set_status(connection, id, status):
            raise HTTPException(404, f"There is no ticket {id}.")
    return _go(f"/tickets/{id}")


async def list_customers(request: Request) -> Response:
    search = read_text(request.query_params, "q", length_max=100, default="")
    page = read_page(request.query_params)
    async with _desk(request).connection() as connection:
        found = await customers.list_customers(connection, search=search, page=page)
    more = len(found) == customers.PAGE_SIZE
    return _page(request, "customers.html", customers=found, search=search, page=page, more=more)


async def show_customer(request: Request) -> Response:
    id = request.path_params["id"]
    async with _desk(request).connection() as connection:
        customer = await customers.read_customer(connection, id)
        if customer is None:
            raise HTTPException(404, f"There is no customer {id}.")
        theirs = await tickets.list_tickets(connection, tickets.Filter(customer_id=id))
    return _page(request, "customer.html", customer=customer, tickets=theirs[: tickets.PAGE_SIZE])


async def list_articles(request: Request) -> Response:
    search = read_text(request.query_params, "q", length_max=200, default="")
    async with _desk(request).connection() as connection:
        found = await articles.search_articles(connection, search)
    return _page(request, "articles.html", articles=found, search=search)


async def show_article(request: Request) -> Response:
    article = await _find_article(request)
    return _page(request, "article.html", article=article)


async def write_article(request: Request) -> Response:
    return _page(request, "article_edit.html", slug=None, values={}, error=None)


async def add_article(request: Request) -> Response:
    form = await read_form(request)
    try:
        fields = read_article_fields(form)
    except FieldError as error:
        return _page(request, "article_edit.html", status_code=422, slug=None, values=form, error=error)
    async with _desk(request).connection() as connection:
        slug = await articles.write_article(connection, slug=make_slug(fields["title"]), **fields)
    return _go(f"/articles/{slug}")


async def edit_article(request: Request) -> Response:
    article = await _find_article(request)
    values = {"title": article.title, "body": article.body}
    return _page(request, "article_edit.html", slug=article.slug, values=values, error=None)


async def change_article(request: Request) -> Response:
    slug = request.path_params["slug"]
    form = await read_form(request)
    try:
        fields = read_article_fields(form)
    except FieldError as error:
        return _page(request, "article_edit.html", status_code=422, slug=slug, values=form, error=error)
    async with _desk(request).connection() as connection:
        if not await articles.change_article(connection, slug, **fields):
            raise HTTPException(404, f"There is no article '{slug}'.")
    return _go(f"/articles/{slug}")


async def _find_article(request: Request) -> articles.Article:
    slug = request.path_params["slug"]
    async with _desk(request).connection() as connection:
        article = await articles.read_article(connection, slug)
    if article is None:
        raise HTTPException(404, f"There is no article '{slug}'.")
    return article


def show_problem(request: Request, *, status_code: int, title: str, text: str) -> Response:
    """Say on a page what went wrong."""
    return _page(request, "problem.html", status_code=status_code, code=status_code, title=title, text=text)


def _desk(request: Request) -> Desk:
    return request.app.state.desk


def _go(path: str) -> Response:
    return RedirectResponse(path, status_code=303)


def _page(request: Request, name: str, *, status_code: int = 200, **values: Any) -> Response:
    settings = _desk(request).settings
    context: Mapping[str, Any] = {
        "release": settings.release[:12] or "development",
        "desk_title": settings.title,
        "settings_version": settings.settings_version,
        "commit": settings.commit[:12],
        "path": request.url.path,
        **values,
    }
    return HTMLResponse(TEMPLATES.get_template(name).render(context), status_code=status_code)


ROUTES = [
    Route("/", show_home),
    Route("/tickets", list_tickets, methods=["GET"]),
    Route("/tickets", open_ticket, methods=["POST"]),
    Route("/tickets/new", write_ticket),
    Route("/tickets/{id:int}", show_ticket),
    Route("/tickets/{id:int}/comments", reply, methods=["POST"]),
    Route("/tickets/{id:int}/status", move_ticket, methods=["POST"]),
    Route("/customers", list_customers),
    Route("/customers/{id:int}", show_customer),
    Route("/articles", list_articles, methods=["GET"]),
    Route("/articles", add_article, methods=["POST"]),
    Route("/articles/new", write_article),
    Route("/articles/{slug}", show_article, methods=["GET"]),
    Route("/articles/{slug}", change_article, methods=["POST"]),
    Route("/articles/{slug}/edit", edit_article),
    Mount("/static", StaticFiles(directory=FOLDER / "static")),
]
