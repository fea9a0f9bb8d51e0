"""Knowledge articles, found by their words."""

from dataclasses import dataclass
from datetime import datetime

from helpdesk.database import Connection

LIMIT = 50
# Signs of a private-use area frame the words found: they survive escaping, and nobody types them.
FOUND_START, FOUND_END = "\ue000", "\ue001"


@dataclass(frozen=True, slots=True)
class Article:
    """`excerpt` is the beginning of the body, or the place where a search found something."""

    id: int
    slug: str
    title: str
    body: str
    updated_at: datetime
    excerpt: str = ""


async def search_articles(connection: Connection, search: str = "") -> list[Article]:
    """List articles, the best match first; all of them, the newest first, where nothing is searched."""
    if not search:
        cursor = await connection.execute(
            """
            SELECT id, slug, title, body, updated_at, left(body, 160) AS excerpt
            FROM articles ORDER BY updated_at DESC, id LIMIT %s
            """,
            (LIMIT,),
        )
    else:
        cursor = await connection.execute(
            """
            SELECT id, slug, title, body, updated_at, ts_headline('english', body, query, %(options)s) AS excerpt
            FROM articles, websearch_to_tsquery('english', %(search)s) AS query
            WHERE words @@ query ORDER BY ts_rank(words, query) DESC, id LIMIT %(limit)s
            """,
            {
                "search": search,
                "limit": LIMIT,
                "options": f"StartSel={FOUND_START}, StopSel={FOUND_END}, MaxWords=28, MinWords=12, MaxFragments=1",
            },
        )
    return [Article(**row) for row in await cursor.fetchall()]


async def read_article(connection: Connection, slug: str) -> Article | None:
    cursor = await connection.execute("SELECT id, slug, title, body, updated_at FROM articles WHERE slug = %s", (slug,))
    row = await cursor.fetchone()
    return Article(**row) if row else None


async def write_article(connection: Connection, *, slug: str, title: str, body: str) -> str:
    """Add an article; returns its slug, which gets a number where the one wanted is taken."""
    number = 1
    while True:
        wanted = slug if number == 1 else f"{slug[:72]}-{number}"
        cursor = await connection.execute(
            "INSERT INTO articles (slug, title, body) VALUES (%s, %s, %s) ON CONFLICT (slug) DO NOTHING RETURNING slug",
            (wanted, title, body),
        )
        if row := await cursor.fetchone():
            return row["slug"]
        number += 1


async def change_article(connection: Connection, slug: str, *, title: str, body: str) -> bool:
    cursor = await connection.execute(
        "UPDATE articles SET title = %s, body = %s, updated_at = now() WHERE slug = %s", (title, body, slug)
    )
    return cursor.rowcount == 1
