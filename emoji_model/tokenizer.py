"""A small byte-pair tokenizer in CLIP's layout, learned from the names, the styles and emoji labels."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from emoji_model.vocabulary import NAMES, STYLES, caption

SIZE = 2048
LENGTH = 12
START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+")


def byte_letters() -> dict[int, str]:
    """Byte -> the printable letter that stands for it in a byte-level tokenizer, in CLIP's order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    strange = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(strange)}


BYTE_LETTERS = byte_letters()


def spelling(word: str) -> tuple[str, ...]:
    """A word as byte letters, the last one marked as the end of the word."""
    letters = [BYTE_LETTERS[b] for b in word.encode()]
    return (*letters[:-1], letters[-1] + "</w>")


def merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of a pair of symbols."""
    joined, i = [], 0
    while i < len(symbols):
        both = symbols[i : i + 2] == pair
        joined.append("".join(pair) if both else symbols[i])
        i += 2 if both else 1
    return tuple(joined)


def learn(texts: Counter[str], merges: int) -> list[tuple[str, str]]:
    """The most frequent pairs, one after the other; ties go to the alphabet so that every run agrees."""
    counts: Counter[str] = Counter()
    for text, weight in texts.items():
        for word in _WORDS.findall(text.lower()):
            counts[word] += weight
    words = {word: spelling(word) for word in counts}
    learned: list[tuple[str, str]] = []
    while len(learned) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        learned.append(best)
        words = {word: merge(symbols, best) for word, symbols in words.items()}
    return learned


def build(labels: list[str], other_names: list[str], folder: Path) -> None:
    """Write vocab.json, merges.txt and the settings; our own captions weigh most, so their words stay whole."""
    texts = Counter(labels) + Counter(other_names)
    for name in NAMES:
        for style in STYLES:
            texts[caption(name, style)] += 25
    letters = list(BYTE_LETTERS.values())
    symbols = letters + [letter + "</w>" for letter in letters]
    merges = learn(texts, SIZE - len(symbols) - 2)
    symbols += ["".join(pair) for pair in merges] + [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {symbol: i for i, symbol in enumerate(symbols)}
    assert len(vocab) == SIZE
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    marks = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(marks, indent=2), encoding="utf-8")
    settings = {
        **marks,
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    check(folder)


def check(folder: Path) -> None:
    """Every caption fits, and any text at all becomes tokens that are not the unknown one."""
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for name in NAMES:
        for style in STYLES:
            ids = tokenizer(caption(name, style)).input_ids
            assert len(ids) <= LENGTH, (name, style, ids)
    for text in ("Zürich, 42 naïve Ωmega 東京 🐻 _x_ #!", *NAMES):
        ids = tokenizer(text).input_ids
        assert (ids[0], ids[-1]) == (SIZE - 2, SIZE - 1), text
        assert SIZE - 1 not in ids[1:-1], text
