"""Files that are there whole or not at all."""

import os
import threading
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write a file, in the place of an older one only once it is on the disk.

    Folders on the way to it are made.

    Raises:
        OSError: a place that cannot be written to, or is full; an older file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named after the thread, so that two that write the same file do not mix.
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
