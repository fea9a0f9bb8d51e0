"""PostgreSQL's tools, broken as packages and other installations break them."""

import stat
from pathlib import Path

BROKEN = {
    "missing": None,
    "crashes": "#!/bin/sh\nkill -SEGV $$\n",
    "of another major version": "#!/bin/sh\necho 'tool (PostgreSQL) 16.4'\n",
    "crashes at work": '#!/bin/sh\n[ "$1" = --version ] && echo "tool (PostgreSQL) 18.0" && exit 0\nkill -SEGV $$\n',
}
"""What stands in a tool's place, by the way in which it is broken; None: nothing."""


def broken_tools(folder: Path, real: Path, tool: str, script: str | None) -> Path:
    """A folder of binaries with one of them missing, or replaced."""
    folder.mkdir()
    folder.chmod(0o755)
    for path in real.iterdir():
        if path.name != tool:
            (folder / path.name).symlink_to(path)
    if script is not None:
        (folder / tool).write_text(script)
        (folder / tool).chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return folder
