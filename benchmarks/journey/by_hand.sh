#!/bin/sh
# What somebody types who has no `ci`: the same steps for the helpdesk, one after the other.
# Usage: by_hand.sh REPOSITORY COMMIT PYTHON POSTGRES_BIN FOLDER
set -eu
repository=$1 commit=$2 python=$3 postgres=$4 folder=$5
mkdir -p "$folder"
git clone -q "$repository" "$folder/source"
cd "$folder/source"
git checkout -q "$commit"
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements-test.lock
for lock in requirements.lock requirements-acceptance.lock; do
    "$folder/venv/bin/pip" wheel -q --disable-pip-version-check --no-deps --require-hashes -r "$lock" -w "$folder/wheels"
done
"$folder/venv/bin/python" -m pytest -q -p no:cacheprovider tests/unit > "$folder/unit.log"
"$postgres/initdb" -U postgres -A trust --no-sync -D "$folder/db" > "$folder/initdb.log"
"$postgres/pg_ctl" -s -w -D "$folder/db" -l "$folder/db.log" -o "-F -c listen_addresses='' -k $folder" start
url="postgresql://postgres@/postgres?host=$folder"
code=0
DATABASE_URL=$url "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider tests/integration > "$folder/it.log" || code=$?
"$postgres/pg_ctl" -s -m immediate -D "$folder/db" stop
tar -cf "$folder/bundle.tar" -C "$folder" source wheels
sha256sum "$folder/bundle.tar" > "$folder/bundle.sha256"
exit $code
