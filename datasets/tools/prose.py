"""Six Austen novels -> austen.jsonl.gz, Shakespeare's plays -> shakespeare.jsonl.gz, one record per chapter or scene.

usage: prose.py AUSTEN_DIR SHAKESPEARE_TXT OUT_DIR
AUSTEN_DIR holds emma.txt, mansfieldpark.txt … as the R package janeaustenr has them (one array element a line).
"""

import re
import sys

from common import tidy, write_jsonl_gz

NOVELS = (
    ("emma", "Emma"),
    ("mansfieldpark", "Mansfield Park"),
    ("northangerabbey", "Northanger Abbey"),
    ("persuasion", "Persuasion"),
    ("prideprejudice", "Pride and Prejudice"),
    ("sensesensibility", "Sense and Sensibility"),
)
END = re.compile(r"(finis|the end|a note on the text)\.?$", re.I)
CHAPTER = re.compile(r"chapter ([0-9ivxlc]+)\.?$", re.I)
VOLUME = re.compile(r"volume ([0-9ivxlc]+)\.?$", re.I)
LEAST_CHARS = 1200


def novel(key, title, lines):
    volume, chapter, paragraph, out, body = None, None, [], [], []

    def close_paragraph():
        if paragraph:
            text = re.sub(r"-{2,}", " - ", " ".join(paragraph).replace("_", ""))
            # footnotes and rows of asterisks are no prose
            if re.search(r"[a-z]", text) and not text.lstrip().startswith("*"):
                body.append(tidy(text))
            paragraph.clear()

    def close_chapter():
        close_paragraph()
        if chapter and body:
            place = f"Volume {volume}, Chapter {chapter}" if volume else f"Chapter {chapter}"
            out.append({"id": f"{key}/{len(out) + 1:02}", "work": title, "title": place, "paragraphs": list(body)})
        body.clear()

    for line in lines:
        line = line.rstrip()
        if END.match(line.strip()):
            break
        if VOLUME.match(line):
            close_chapter()
            volume, chapter = VOLUME.match(line)[1], None
        elif CHAPTER.match(line):
            close_chapter()
            chapter = CHAPTER.match(line)[1]
        elif not line.strip():
            close_paragraph()
        else:
            paragraph.append(line)
    close_chapter()
    return out


SMALL = {"of", "and", "the", "that", "or", "as", "a", "for", "about", "in"}


def title_case(text):
    words = [w if w in SMALL and i else w.capitalize() for i, w in enumerate(text.lower().split())]
    return " ".join(words)


def plays(lines):
    starts = [i - 1 for i, line in enumerate(lines) if line == "Contents"]
    ends = starts[1:] + [lines.index("A LOVERS COMPLAINT")]
    for start, end in zip(starts, ends):
        title = title_case(lines[start])
        key = re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
        # the table of contents names every act once; the play begins where ACT I comes again
        acts = [i for i in range(start, end) if lines[i] == "ACT I"]
        act, scene, body, speech, number = "I", None, [], [], 0
        for line in lines[acts[1] : end] + ["ACT end"]:
            head = re.match(r"(ACT|SCENE|Scene) ([IVX]+|end)\b", line)
            if head or re.match(r"[A-Z][A-Z ]+$", line):
                if speech:
                    body.append("\n".join(speech))
                    speech = []
            if head:
                text = [tidy_lines(b) for b in body]
                if scene and sum(map(len, text)) >= LEAST_CHARS:
                    number += 1
                    yield {"id": f"{key}/{number:02}", "work": title, "title": f"Act {act}, Scene {scene}", "paragraphs": text}
                body, speech = [], []
                if head[1] == "ACT":
                    act, scene = head[2], None
                else:
                    scene = head[2]
            else:
                speech.append(line)


def tidy_lines(text):
    return "\n".join(filter(None, (tidy(line) for line in text.split("\n"))))


def main():
    austen, shakespeare, out = sys.argv[1:]
    records = []
    for key, title in NOVELS:
        with open(f"{austen}/{key}.txt", encoding="utf-8") as file:
            records += novel(key, title, file.read().split("\n"))
    write_jsonl_gz(f"{out}/austen.jsonl.gz", records)
    with open(shakespeare, encoding="utf-8") as file:
        write_jsonl_gz(f"{out}/shakespeare.jsonl.gz", list(plays(file.read().split("\n"))))


if __name__ == "__main__":
    main()
