"""What the demo commits: good changes that a person can see on the pages, and one that is slow and fails some requests.

All are real changes of the helpdesk's code. The bad one passes every test: it fails only for subjects with signs beyond
ASCII, which no test has and many customers write.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blocks.forge_local import LocalForge

ROOT = Path(__file__).resolve().parents[2]
HELPDESK = ROOT / "examples" / "helpdesk"
BAD_PATCH = Path(__file__).with_name("similar_tickets.patch")
MIGRATIONS = "migrations/*.sql"
AUTHOR, EMAIL, PUSHER = "Dana Ortiz", "dana@example.com", "dana"

_NOTICES = (
    ("Opening hours over the holidays", "From 24 to 26 December we answer emergencies only."),
    ("The new invoice layout", "From next month on, seats and credits stand on a page of their own."),
    ("Two-factor sign-in for everybody", "Open Settings, then Security, and scan the code with your phone."),
    ("Maintenance on Sunday", "Between 02:00 and 02:30 UTC the export may take longer than usual."),
)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A commit that was pushed: its SHA, its title, and what the hook said."""

    sha: str
    title: str
    said: str


def push_baseline(forge: LocalForge) -> Pushed:
    """Push the helpdesk as it is in this repository."""
    forge.replace_files(HELPDESK, keep=MIGRATIONS)
    return _push(forge, "helpdesk: open the desk")


def push_good(forge: LocalForge, *, now: datetime) -> Pushed:
    """Push a good change: news on the front page, and an article that a migration brings."""
    if forge.replace_files(HELPDESK, keep=MIGRATIONS):
        forge.commit("helpdesk: take back what was rolled back", author=AUTHOR, email=EMAIL)
    number = 1 + max(int(path.name[:4]) for path in (forge.work / "migrations").glob("*.sql"))
    title, text = _NOTICES[number % len(_NOTICES)]
    name = f"migrations/{number:04}_notice.sql"
    forge.write(
        {
            "NEWS.md": _news(
                (HELPDESK / "NEWS.md").read_text(encoding="utf-8"), title, f"{text} ({now:%d %B, %H:%M} UTC)"
            ),
            name: f"-- {title}.\nINSERT INTO articles (slug, title, body) VALUES\n"
            f"('notice-{number}', '{title}', '{text}')\nON CONFLICT (slug) DO NOTHING;\n",
        }
    )
    return _push(forge, f"news: {title.lower()}")


def push_bad(forge: LocalForge) -> Pushed:
    """Push the change that the canary is there for."""
    forge.apply(BAD_PATCH)
    return _push(forge, "tickets: show similar tickets beside a ticket")


def _push(forge: LocalForge, title: str) -> Pushed:
    sha = forge.commit(title, author=AUTHOR, email=EMAIL)
    return Pushed(sha, title, forge.push(pusher=PUSHER))


def _news(markdown: str, title: str, text: str) -> str:
    head, _, rest = markdown.partition("\n## ")
    return f"{head}\n## {title}\n\n{text}\n\n## {rest}"
