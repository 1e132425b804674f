import csv
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from treegrpo.errors import UsageError
from treegrpo.pictures.image_file import save_image
from treegrpo.training.prompt_list import instructions_in, prompt_lines, read_prompts


def test_pictures_come_with_the_lines_beside_them(tmp_path):
    for name, grey in (("b", 0.2), ("a", 0.6)):
        save_image(tmp_path / f"{name}.png", torch.full((2, 2, 3), grey))
    (tmp_path / "a.txt").write_text("make it blue\n# no prompt\nadd a hat\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("make it blue\nmake it blue", encoding="utf-8")
    found = read_prompts(tmp_path)
    assert [str(each) for each in found] == ["make it blue", "add a hat", "make it blue"]
    assert [float(each.reference.mean()) for each in found] == pytest.approx([0.6, 0.6, 0.2])


@pytest.mark.parametrize("words", [None, "# nothing"])
def test_a_picture_without_words_is_named(tmp_path, words):
    save_image(tmp_path / "a.png", torch.ones(2, 2, 3))
    if words:
        (tmp_path / "a.txt").write_text(words)
    with pytest.raises(UsageError, match=r'"a\.png" has no words in "a\.txt"'):
        instructions_in(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no picture"):
        instructions_in(tmp_path)


FOUND = {
    # what people have (the files are written below), and the prompts in it
    "lines.txt": ("# animals\nbear\n\n  frog  \nbear\n", ["bear", "frog"]),
    "marks.txt": (
        "\ufeffbear\n\ufeff# a comment\nfrog\u2028with a hat\n\u200b\nbell\r\n",
        ["bear", "frog with a hat", "bell"],
    ),
    "old_mac.txt": ("bear\rfrog\r", ["bear", "frog"]),
    "blocks.txt": ("a bear,\nlarge\n---\na frog\n---\n", ["a bear,\nlarge", "a frog"]),
    "dashes.txt": ("a bear --- large\na frog\n", ["a bear --- large", "a frog"]),
    "texts.json": ('["a bear", "a frog", "a bear"]', ["a bear", "a frog"]),
    "rows.json": ('[{"caption": "a bear", "tag": "x"}]', ["a bear"]),
    "rows.jsonl": ('{"prompt": "a cup", "tag": "x"}\n\n{"prompt": "a \\"sign\\""}\n', ["a cup", 'a "sign"']),
    "only.jsonl": ('{"id": 1, "words": "a cup"}\n{"id": 2, "words": "two geese"}\n', ["a cup", "two geese"]),
    "files.csv": ('file_name,text\n1.png,"a boat, at anchor"\n2.png,a windmill\n', ["a boat, at anchor", "a windmill"]),
    "lines.csv": ('text\n"a boat,\nat anchor"\n', ["a boat,\nat anchor"]),
    "parti.tsv": ("Prompt\tCategory\na boat\tScenes\n", ["a boat"]),
    "excel.csv": ("\ufeffPrompt\r\na boat\r\n", ["a boat"]),
}
REFUSED = {
    "nothing.txt": ("# nothing\n\n", "holds no prompt"),
    "columns.csv": (
        "a,b\n1,2\n",
        r"none of the columns prompt, text, caption, nor one column of texts alone \(it has a, b\)",
    ),
    "numbers.json": ("[1, 2]", "is no list of prompts"),
    "object.json": ('{"prompts": ["a"]}', "is no list of prompts"),
    "broken.json": ("[1, ", "cannot be read as what its name says"),
    "deep.json": ("[" * 100_000, "cannot be read as what its name says|is no list of prompts"),
    "broken.jsonl": ('{"prompt": "a"}\nb\n', "cannot be read as what its name says"),
    "missing.jsonl": ('{"prompt": "a"}\n{"tag": "b"}\n', 'row 2 of "missing.jsonl" has no text under "prompt"'),
    "empty.csv": ("", "holds no prompt"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_people_have_is_read(tmp_path, name):
    text, prompts = FOUND[name]
    (tmp_path / name).write_bytes(text.encode())
    assert read_prompts(tmp_path / name) == prompts


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_list_of_prompts_is_a_sentence(tmp_path, name):
    text, words = REFUSED[name]
    (tmp_path / name).write_bytes(text.encode())
    with pytest.raises(UsageError, match=words) as caught:
        read_prompts(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_list_is_itself_unless_it_is_empty():
    assert read_prompts(["bear", "bear"]) == ["bear", "bear"]
    with pytest.raises(UsageError, match="the list is empty"):
        read_prompts([])


# Of what a line can hold, all but what editors leave at its ends and what starts a comment or a block.
words = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=9).filter(
    lambda text: not text.startswith("#") and text != "---"
)


@given(st.lists(words, min_size=1, max_size=6, unique=True))
def test_prompts_come_back_from_every_kind_of_file(tmp_path_factory, prompts):
    folder: Path = tmp_path_factory.mktemp("prompts")
    (folder / "a.txt").write_text("\n".join(prompts), encoding="utf-8")
    (folder / "b.json").write_text(json.dumps(prompts), encoding="utf-8")
    (folder / "c.jsonl").write_text("\n".join(json.dumps({"text": each}) for each in prompts), encoding="utf-8")
    with open(folder / "d.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["number", "prompt"], *enumerate(prompts)])
    assert prompt_lines("\r\n".join(prompts)) == prompts
    for name in ("a.txt", "b.json", "c.jsonl", "d.csv"):
        assert read_prompts(folder / name) == prompts, name
