import pytest

from treegrpo.errors import UsageError
from treegrpo.training.text_file import read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_editors_write_is_read(tmp_path, encoding):
    file = tmp_path / "a.txt"
    file.write_text("café ☕\n", encoding=encoding)
    assert read_text(file, "prompts") == "café ☕\n"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_a_sentence(tmp_path, encoding):
    file = tmp_path / "a.txt"
    file.write_text("café\n", encoding=encoding)
    with pytest.raises(UsageError, match=r'prompts: ".*a\.txt" is not in UTF-8; save it as UTF-8'):
        read_text(file, "prompts")


def test_half_a_character_is_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UsageError, match="is not in UTF-8"):
        read_text(tmp_path / "a.txt", "prompts")


def test_what_cannot_be_opened_is_a_sentence(tmp_path):
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(UsageError, match=r'--config: ".*" cannot be read \('):
            read_text(path, "--config")
