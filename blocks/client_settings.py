"""The settings of package clients (pip, uv, proxies, certificates) that builds may see, and the files they name.

Without them nothing installs; with all of our environment, secrets would leak. So the installation lists names, and
only these pass. A file that such a setting names and that the user of the build can't read is copied for it.
"""

import configparser
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from io import TextIOWrapper
from pathlib import Path

from blocks.identity import give

DEFAULT_VARIABLES = (
    "LANG",
    "LC_*",
    "TZ",
    "PIP_*",
    "UV_*",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_*",
    "npm_config_*",
    "GOPROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
)
"""What passes where the installation lists nothing in `build_variables`."""


def passed_variables(patterns: Iterable[str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Choose the variables that match a name or a pattern with `*`; in the order of their names."""
    wanted = tuple(patterns)
    return {
        name: environment[name] for name in sorted(environment) if any(fnmatchcase(name, pattern) for pattern in wanted)
    }


def lend_settings(variables: Mapping[str, str], home: Path, user: str | None) -> dict[str, str]:
    """Make settings usable with another home and by another user.

    Effect: copies files that `user` can't read, and pip's and uv's own configuration, to `home`, for `user` only.
    Returns: the variables, naming the copies.
    """
    lent = {name: _lend_words(value, home, user) for name, value in variables.items()}
    if not lent.get("PIP_CONFIG_FILE"):
        lent |= _lend_pip_configuration(home, user)
    uv = _config_home() / "uv" / "uv.toml"
    if "UV_CONFIG_FILE" not in lent and uv.is_file():
        lent["UV_CONFIG_FILE"] = str(_copy(uv, home, user))
    return lent


def pip_configuration_files() -> list[Path]:
    """The files that hold for our pip and not for a pip with another home: the user's, then this environment's."""
    files = [Path.home() / ".pip" / "pip.conf", _config_home() / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [path for path in files if path.is_file()]


def named_paths(variables: Mapping[str, str], user: str | None) -> list[Path]:
    """The files and folders that settings name, pip's own configuration included, as far as `user` may see them."""
    texts = list(variables.values())
    texts += [
        path.read_text(errors="replace") for path in [Path(variables.get("PIP_CONFIG_FILE", ""))] if path.is_file()
    ]
    words = (word.removeprefix("file://") for text in texts for word in re.split(r"[\s=:,]+(?!//)", text))
    found = dict.fromkeys(Path(word) for word in words if word.startswith("/"))
    return [path for path in found if len(path.parts) > 2 and path.exists() and _is_open(path, user)]


def _is_open(path: Path, user: str | None) -> bool:
    """Whether another user gets to a path; with no other user, we do."""
    real = path.resolve()
    return user is None or all(parent.stat().st_mode & 0o001 for parent in real.parents)


def _lend_pip_configuration(home: Path, user: str | None) -> dict[str, str]:
    files = pip_configuration_files()
    if not files:
        return {}
    merged = configparser.RawConfigParser()
    merged.read(files, encoding="utf-8")
    for section in merged.sections():
        for name, value in merged.items(section):
            merged.set(section, name, _lend_words(value, home, user))
    path = home / "pip.conf"
    with _open_private(path) as file:
        merged.write(file)
    give(path, user)
    return {"PIP_CONFIG_FILE": str(path)}


def _lend_words(value: str, home: Path, user: str | None) -> str:
    """Replace each word that names a closed file by the name of a copy."""
    if "/" not in value or user is None:
        return value
    words = value.split()
    if not any(_is_closed_file(word) for word in words):
        return value
    return " ".join(str(_copy(Path(word), home, user)) if _is_closed_file(word) else word for word in words)


def _is_closed_file(word: str) -> bool:
    """Whether a word names a file of ours that other users can't read."""
    path = Path(word)
    if not path.is_absolute() or not path.is_file():
        return False
    real = path.resolve()
    return not real.stat().st_mode & 0o004 or any(not parent.stat().st_mode & 0o001 for parent in real.parents)


def _copy(path: Path, home: Path, user: str | None) -> Path:
    copy = home / f"{len(list(home.iterdir()))}-{path.name}"
    with path.open("rb") as source, _open_private(copy) as target:
        shutil.copyfileobj(source, target.buffer)
    give(copy, user)
    return copy


def _open_private(path: Path) -> TextIOWrapper:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
