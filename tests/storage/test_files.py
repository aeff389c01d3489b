"""Evidence for files: whole or not at all, and refused where they are not what was written."""

import errno
import json
import os
import subprocess
from concurrent import futures

import numpy as np
import optax
import pytest

import jaxnet
from jaxnet import report, storage
from jaxnet.errors import InputError
from jaxnet.storage import arrays, files, models, programs


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    for content in (b"old" * 1000, b"new"):
        files.write(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["open", "write", "flush", "fsync", "replace"])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_what_was_there_alone(fails, kind, tmp_path, monkeypatch):
    """The second of two files, wherever the disk is full: neither is replaced, nothing is left."""
    first, second, calls = tmp_path / "a.bin", tmp_path / "b.bin", []
    files.write_all({first: b"old", second: b"old"})

    def full(*_):
        calls.append(None)
        # Files are replaced once all are written.
        if len(calls) == 2 or fails == "replace":
            raise kind(errno.ENOSPC, "No space left on device")

    opened = type(tmp_path).open

    class File:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return full if name == fails else getattr(self.file, name)

    def open_(path, *arguments):
        if fails == "open":
            full()
        return File(opened(path, *arguments))

    monkeypatch.setattr(type(tmp_path), "open", open_)
    if fails in ("fsync", "replace"):
        monkeypatch.setattr(files.os, fails, full)
    with pytest.raises(kind) as caught:
        files.write_all({first: b"newer", second: b"newer"})
    monkeypatch.undo()
    if kind is OSError:
        assert (caught.value.errno, "make room there" in caught.value.strerror) == (28, True)
        assert caught.value.filename == str(first if fails == "replace" else second)
    assert [path.read_bytes() for path in (first, second)] == [b"old", b"old"]
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_a_full_disk_leaves_the_older_file(tmp_path):
    """A disk of one megabyte, where it may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    try:
        path = disk / "a.bin"
        files.write(path, b"old")
        with pytest.raises(OSError, match=r"got No space left on device; make room there.*a\.bin"):
            files.write(path, bytes(2**21))
        assert path.read_bytes() == b"old"
        assert list(disk.iterdir()) == [path]
        files.write(path, bytes(2**19))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_place_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"expected to write this file, got .*a\.bin") as caught:
        files.write(tmp_path / "file" / "a.bin", b"")
    assert caught.value.filename == str(tmp_path / "file" / "a.bin")


def test_what_killed_processes_left_is_cleared(tmp_path):
    files.write(tmp_path / "a.bin", b"whole")
    half = tmp_path / f".b.bin.{os.getpid()}.7.half"
    half.write_bytes(b"ha")
    assert files.clear(tmp_path) == [half.name]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.bin"]
    assert files.clear(tmp_path / "nowhere") == []


def test_a_record_speaks_for_its_files(tmp_path):
    record, path = {"a": [1, None, "é"], "b": {"c": 0.1}}, tmp_path / "new" / "r.json"
    contents = {"x.bin": b"\0\1", "y.bin": b""}
    files.write_record(path, record, contents)
    assert files.read_record(path) == (record, contents)
    # For any program.
    assert json.loads(path.read_text())["b"] == {"c": 0.1}
    (path.with_name("y.bin")).write_bytes(b"?")
    with pytest.raises(InputError, match=r"y.bin: expected .* than r.json has.*; make it again"):
        files.read_record(path)
    path.with_name("y.bin").unlink()
    with pytest.raises(InputError, match=r"y.bin: expected .*, got No such file"):
        files.read_record(path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"sha256": "', b'{\n "format": "jaxnet model 1", "sha256": "ab"}']
)
def test_what_nobody_sealed_is_refused(content, tmp_path):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(
        InputError, match=r"r\.json: expected the file that jaxnet wrote there, got"
    ):
        files.read_record(tmp_path / "r.json")


@pytest.mark.parametrize("bad", [np.nan, np.inf, {1}, b"", np.ones(2)])
def test_a_record_that_is_not_json_is_refused(bad, tmp_path):
    with pytest.raises(InputError, match="record: expected plain JSON, got"):
        files.write_record(tmp_path / "r.json", {"a": bad}, {})
    assert not list(tmp_path.iterdir())


def test_records_written_at_once_into_one_folder_are_all_there(tmp_path):
    def write(name):
        for count in range(30):
            files.write_record(tmp_path / f"{name}.json", {"count": count}, {f"{name}.bin": b"x"})

    with futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(write, "abc"))
    for name in "abc":
        record, contents = files.read_record(tmp_path / f"{name}.json")
        assert (record, contents) == ({"count": 29}, {f"{name}.bin": b"x"})


def test_what_may_not_be_read_is_not_to_be_made_again(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    files.write_record(tmp_path / "r.json", {}, {})
    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    with pytest.raises(InputError, match=r"r\.json: .*got Permission denied; make it readable$"):
        files.read_record(tmp_path / "r.json", "make it again")


def test_what_is_there_already_is_not_written(tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    files.write_all({same: b"ab", other: b"ab"})
    before = [path.stat().st_ino for path in (same, other)]
    files.write_all({same: bytearray(b"ab"), other: b"ac"})
    after = [path.stat().st_ino for path in (same, other)]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    assert other.read_bytes() == b"ac"


def test_what_takes_a_path_takes_its_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {"rows": np.arange(3)}
    layer = jaxnet.Layer(np.ones((1, 2), np.float32))
    files.write("a/file", b"1")
    files.write_all({"b/file": b"2"})
    files.write_record("c/record.json", {}, {"d": b"3"})
    assert files.read_record("c/record.json")[1] == {"d": b"3"}
    assert files.read("c/record.json")
    assert files.clear("c") == []
    arrays.write("e/rows.safetensors", rows, None)
    assert arrays.read("e/rows.safetensors")[0]["rows"].tolist() == [0, 1, 2]
    models.write("model", (layer,), {})
    assert models.read("model")[1] == {}
    programs.write("program", lambda params, x: params * x, 2.0, np.ones(2))
    assert programs.read("program").call(np.ones((3, 2), np.float32)).shape == (3, 2)
    with storage.Checkpoints("run", {}) as checkpoints:
        begun = jaxnet.begin(optax.sgd(0.1), (layer,))
        checkpoints.save(begun)
        assert checkpoints.restore(begun)
    report.check_picture("pictures/losses.png")
    report.loss_curves("pictures/losses.png", "losses", {"one": np.arange(3.0)})
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert written == {"a", "b", "c", "e", "model", "pictures", "program", "run"}
