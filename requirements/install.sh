#!/bin/sh
# Make a virtual environment and install a lock file into it, every file checked by its hash; called by the Makefile.
# usage: install.sh VENV LOCK      (PYTHON=... chooses the interpreter)
set -eu
venv=$1
lock=$2
home=$(cd "$(dirname "$0")/.." && pwd)

is_suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if is_suitable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
}

make_venv() {
    python=$(find_python)
    echo "Making $venv with $("$python" --version) ($python)"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        # Debian's python3 has no ensurepip; its pip can serve the new environment from outside.
        rm -rf "$venv"
        "$python" -m venv --without-pip "$venv"
    fi
}

install_lock() {
    echo "Installing $lock (checked by hash; the first time takes a minute or two)"
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        set -- "$venv/bin/python" -m pip
    else
        set -- "$(find_python)" -m pip --python "$venv/bin/python"
    fi
    "$@" install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes -r "$lock"
}

write_command() {
    # No entry in site-packages: flows must find their own copy of the rooms and never this working tree.
    cat >"$venv/bin/slipway" <<END
#!/bin/sh
PYTHONPATH="$home" exec "$home/$venv/bin/python" -m deployments.cli "\$@"
END
    chmod 755 "$venv/bin/slipway"
}

cd "$home"
if [ ! -x "$venv/bin/python" ] || ! is_suitable "$venv/bin/python"; then
    rm -rf "$venv"
    make_venv
fi
install_lock
write_command
