"""A program of its own that turns CSV into Parquet and back: run by a Python that has pyarrow, which ours has not.

    python parquet_child.py pack CSV PARQUET < {"columns": [["id", "bigint"], ...], "about": {...}}
    python parquet_child.py unpack PARQUET CSV

Prints {"rows": n}. Every value comes back as PostgreSQL wrote it: only whole numbers and booleans get a type of their
own, everything else stays text, and an empty text stays one beside NULL. Nothing of Slipway is imported here.
"""

import json
import sys
from typing import Any

WHOLE = {"smallint": "int16", "integer": "int32", "bigint": "int64"}


def main() -> None:
    word, source, target = sys.argv[1:4]
    rows = pack(source, target, json.load(sys.stdin)) if word == "pack" else unpack(source, target)
    print(json.dumps({"rows": rows}))


def pack(source: str, target: str, told: dict[str, Any]) -> int:
    """Write zstd-compressed Parquet, block by block, in constant memory."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    types = {name: column_type(pa, kind) for name, kind in told["columns"]}
    metadata = {b"slipway": json.dumps({"columns": told["columns"], **told["about"]}).encode()}
    schema = pa.schema([pa.field(name, kind) for name, kind in types.items()], metadata=metadata)
    convert = csv.ConvertOptions(
        column_types=types,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["t"],
        false_values=["f"],
    )
    parse = csv.ParseOptions(newlines_in_values=True)
    reader = csv.open_csv(source, csv.ReadOptions(block_size=16 << 20), parse, convert)
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
            rows += batch.num_rows
    return rows


def unpack(source: str, target: str) -> int:
    """Write what `COPY ... FROM (FORMAT csv, HEADER)` reads."""
    import csv

    import pyarrow.parquet as pq

    rows, file = 0, pq.ParquetFile(source)
    names = file.schema_arrow.names
    with open(target, "w", newline="", encoding="utf-8") as out:  # noqa: PTH123 - text with its line ends as they are
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(names)
        for batch in file.iter_batches(batch_size=10_000):
            lists = [column.to_pylist() for column in batch.columns]
            for row in zip(*lists, strict=True):
                out.write(",".join(map(written, row)) + "\n")
                rows += 1
    return rows


def column_type(pa: Any, kind: str) -> Any:
    return getattr(pa, WHOLE[kind])() if kind in WHOLE else pa.bool_() if kind == "boolean" else pa.string()


def written(value: Any) -> str:
    """NULL is nothing, text is always quoted: that is how COPY tells the empty text from NULL."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace('"', '""') + '"'


if __name__ == "__main__":
    main()
