"""Applies the files of `migrations`, each once."""

import os
from pathlib import Path

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    for path in sorted(Path("migrations").glob("*.sql")):
        connection.execute(path.read_text())
