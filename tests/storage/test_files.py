"""Evidence for files: whole or not at all."""

import pytest

from jaxnet.storage import files


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    for content in (b"old" * 1000, b"new"):
        files.write(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(fails, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("full")

    path = tmp_path / "a.bin"
    files.write(path, b"old")
    monkeypatch.setattr(files.os, fails, full)
    with pytest.raises(OSError, match="full"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
