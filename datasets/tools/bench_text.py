"""Sentences for the prompts that `servelab bench` makes itself -> crates/bench/src/text/sentences.txt.

usage: bench_text.py TEXTS_DIR OUT TOKENIZER_JSON...

A sentence is kept where each of its words is one token, with a space before it, in every tokenizer given, and where every
mark stands behind a word and before a space. So most tokenizers count words and marks alike, and `bench` can prove with a
few requests that a server's does. Only the vocabularies are read, so Python alone is enough.
"""

import gzip
import json
import re
import sys

MARKS = ".,;:?!"
# What a model may refuse to talk about, so that its answer would be short.
GRIM = re.compile(r"abus|crim|death|die[ds]|disease|drug|forced|genocid|infan|kill|murder|prostit|rape|rebel|sex|slave|terror|traffick|victim|viol|\bwars?\b|weapon")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
WORD = re.compile(r"[A-Za-z]+")
BYTES = 60_000
LEAST_WORDS, MOST_WORDS = 6, 40


def paragraphs(texts):
    """Whole sentences of prose: the novels' chapters and the long entries of the factbook."""
    for name in ("austen", "factbook"):
        with gzip.open(f"{texts}/{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for record in map(json.loads, file):
                for text in record.get("paragraphs") or [fact for _, fact in record["facts"]]:
                    yield name, text


def one_token_words(path):
    """The words that the vocabulary holds with the space before them, in the two ways of writing it."""
    with open(path, encoding="utf-8") as file:
        vocabulary = json.load(file)["model"]["vocab"]
    return {token[1:] for token in vocabulary if token[:1] in ("\u2581", "\u0120")}


def is_fit(sentence, known):
    """Words of one token, nothing grim, marks alone behind a word, a capital only at the beginning (and in I)."""
    words = sentence.split(" ")
    if GRIM.search(sentence.lower()):
        return False
    if not LEAST_WORDS <= len(words) <= MOST_WORDS or words[-1][-1:] not in ".?!":
        return False
    for n, word in enumerate(words):
        bare = word[:-1] if word[-1:] in MARKS else word
        inner_end = word[-1:] in ".?!" and n + 1 < len(words)
        case = bare[:1].isupper() if n == 0 else bare.islower() or bare == "I"
        if inner_end or not case or not WORD.fullmatch(bare) or not all(bare in k for k in known):
            return False
    return True


def main():
    texts, out, *tokenizers = sys.argv[1:]
    known = [one_token_words(path) for path in tokenizers]
    found = {"austen": [], "factbook": []}
    for name, text in paragraphs(texts):
        found[name] += [s for s in SENTENCE_END.split(text) if is_fit(s, known)]
    found = {name: list(dict.fromkeys(sentences)) for name, sentences in found.items()}
    # All of the smaller source, and the larger one evenly from its beginning to its end.
    kept, novels = list(found["factbook"]), found["austen"]
    room = BYTES - sum(len(s) + 1 for s in kept)
    step = max(1.0, sum(len(s) + 1 for s in novels) / room)
    at = 0.0
    while int(at) < len(novels) and room >= len(novels[int(at)]) + 1:
        kept.append(novels[int(at)])
        room -= len(novels[int(at)]) + 1
        at += step
    with open(out, "w", encoding="ascii") as file:
        file.write("\n".join(kept) + "\n")
    counts = ", ".join(f"{len(s)} of {name}" for name, s in found.items())
    print(f"{counts} fit; {len(kept)} kept, {sum(len(s) + 1 for s in kept)} bytes")


if __name__ == "__main__":
    main()
