"""Files that are there whole or not at all, and that tell when they are not what was written.

A sealed file holds, in place of 64 zeros at its start, the SHA-256 of its name and of all its
bytes: one that is damaged, cut short, or another file under its name, is refused before a byte of
it is believed. One process at a time writes a folder.
"""

import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxnet.errors import InputError

Content = bytes | bytearray
BLANK = "0" * 64
"""What stands in a file, as the first thing it holds, until it is sealed."""
_MARK, _WITHIN = b'"sha256": "', 128
_HALF = ".half"
_AGAIN = "make it again"


def write(path: str | Path, content: Content) -> None:
    """Write a file, in the place of an older one only once it is on the disk.

    Folders on the way to it are made.

    Raises:
        OSError: a place that cannot be written to, or is full; an older file stays as it was.
    """
    write_all({Path(path): content})


def write_all(contents: Mapping[Path, Content] | Mapping[str, Content]) -> None:
    """Write files as `write` does, and put the first in its place once all are on the disk.

    Each is whole or as it was; a process killed in between leaves the first of them new and the
    others old. What is there already is not written: what is done is shown again where nobody may
    write.
    """
    places = {Path(path): content for path, content in contents.items()}
    places = {path: content for path, content in places.items() if not _holds(path, content)}
    # Named after the thread, so that two that write the same file do not mix.
    mark = f"{os.getpid()}.{threading.get_ident()}{_HALF}"
    halves = {path: path.with_name(f".{path.name}.{mark}") for path in places}
    path = Path()
    try:
        for path, content in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with halves[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, half in halves.items():
            os.replace(half, path)
    except OSError as error:
        words = (
            f"expected to write this file, got {error.strerror or error}; make room there, or give "
            "another place; an older file is as it was"
        )
        raise OSError(error.errno, words, str(path)) from error
    finally:
        for half in halves.values():
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)


def _holds(path: Path, content: Content) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == len(content) and path.read_bytes() == content
    return False


def clear(folder: str | Path) -> list[str]:
    """Remove what killed processes left half written in a folder; give the names of it."""
    halves = sorted(Path(folder).glob(f".*{_HALF}"))
    for half in halves:
        half.unlink(missing_ok=True)
    return [half.name for half in halves]


def seal(name: str, content: bytearray) -> bytearray:
    """Put the SHA-256 of a file of this name in the place of `BLANK`; give the same content."""
    start = content.index(_MARK + BLANK.encode()) + len(_MARK)
    content[start : start + len(BLANK)] = _sha256(name, content, start).encode()
    return content


def read(path: str | Path, cure: str = _AGAIN) -> bytes:
    """Read a sealed file.

    Args:
        path: of the file. cure: what the error says is to be done.

    Raises:
        InputError: no file, or one that is not, to the last bit, what was written there.
    """
    path = Path(path)
    content = _content(path, cure)
    start = content.find(_MARK, 0, _WITHIN) + len(_MARK)
    if start < len(_MARK):
        raise _refused(path, "one without a seal, of an older version or damaged", cure)
    if content[start : start + len(BLANK)] != _sha256(path.name, content, start).encode():
        raise _refused(path, "another SHA-256: it is damaged, or another under its name", cure)
    return content


def named(kind: str, digest: str) -> str:
    """Name a file of a kind, such as `runs.parquet`, by a digest of what it holds."""
    stem, suffix = os.path.splitext(kind)
    return f"{stem}-{digest[:16]}{suffix}"


def kind(name: str) -> str:
    """Give the kind of a file that is `named`."""
    return re.sub(r"-[0-9a-f]{16}(?=\.)", "", name)


def write_record(
    path: str | Path, record: Mapping[str, Any], contents: Mapping[str, Content]
) -> None:
    """Write files side by side and, after them, a JSON record sealed over itself and all of them.

    Where the files are `named` by what they hold, a process may be killed at any moment: those of
    an older record stay until the new one takes its place, and are removed after that.

    Args:
        path: of the record.
        record: what JSON can hold, under other names than "sha256" and "files".
        contents: of the other files, by name.

    Raises:
        InputError: a record that is not plain JSON, nan and infinity among it.
        OSError: as `write`.
    """
    path = Path(path)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    text = to_json({"sha256": BLANK, "files": digests, **record}, indent=1)
    beside = {path.with_name(name): content for name, content in contents.items()}
    write_all({**beside, path: seal(path.name, bytearray(text, "utf-8"))})
    kinds = {kind(name) for name in contents}
    for other in path.parent.iterdir():
        if kind(other.name) in kinds and other.name not in contents:
            other.unlink()


def read_record(path: str | Path, cure: str = _AGAIN) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read what `write_record` wrote: the record, and the contents of its files.

    Args:
        path: of the record. cure: what the error says is to be done.

    Raises:
        InputError: naming the file that is missing, or is not what was written.
    """
    path = Path(path)
    record = json.loads(read(path, cure))
    digests = record.pop("files")
    del record["sha256"]
    contents = {name: _content(path.with_name(name), cure) for name in digests}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != digests[name]:
            got = f"another SHA-256 than {path.name} has: it is damaged, or of another run"
            raise _refused(path.with_name(name), got, cure)
    return record, contents


def to_json(record: Any, name: str = "record", indent: int | None = None) -> str:
    """Give a record as JSON.

    Raises:
        InputError: what JSON cannot hold, nan and infinity among it.
    """
    try:
        return json.dumps(record, indent=indent, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected plain JSON, got {error}; give numbers, text, lists and dicts"
        ) from error


def _content(path: Path, cure: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        closed = isinstance(error, PermissionError)
        got = error.strerror or str(error)
        raise _refused(path, got, "make it readable" if closed else cure) from error


def _refused(path: Path, got: str, cure: str) -> InputError:
    return InputError(f"{path}: expected the file that jaxnet wrote there, got {got}; {cure}")


def _sha256(name: str, content: Content, start: int) -> str:
    """Give the digest of a file whose seal stands at `start`, as if it were blank."""
    digest, view = hashlib.sha256(f"{name}\n".encode()), memoryview(content)
    for part in (view[:start], BLANK.encode(), view[start + len(BLANK) :]):
        digest.update(part)
    return digest.hexdigest()
