"""What the cleaning scripts share: one JSON object a line, gzip without a time stamp, so that the same input gives the same bytes."""

import gzip
import hashlib
import json
import re
import sys


def tidy(text):
    """Collapse white space and replace typographic signs that only cost tokens."""
    for old, new in (("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2013", "-"), ("\u2026", "..."), ("\u00a0", " ")):
        text = text.replace(old, new)
    return re.sub(r"\s+", " ", text).strip()


def write_jsonl_gz(path, records):
    """Write the records and print what `datasets/l4.toml` needs to know about the file."""
    lines = [json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in records]
    ids = [r["id"] for r in records]
    if len(set(ids)) != len(ids):
        sys.exit(f"{path}: record ids are not unique")
    raw = ("\n".join(lines) + "\n").encode()
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as out:
        out.write(raw)
    with open(path, "rb") as file:
        packed = file.read()
    print(f"{path}: {len(records)} records, {len(raw)} bytes, {len(packed)} packed, sha256 {hashlib.sha256(packed).hexdigest()}")
