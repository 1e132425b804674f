import pytest
import torch

from treegrpo.errors import UsageError
from treegrpo.pictures.image_file import save_image
from treegrpo.training.config_file import read_prompts
from treegrpo.training.prompt_list import instructions_in


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
