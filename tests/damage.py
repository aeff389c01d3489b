"""Single damages to the files of a folder, drawn at random: what disks, copies and hands do."""

import json
import os
import random
import shutil

# How many damages of each kind of folder are tried.
COUNT = int(os.environ.get("DAMAGES", "200"))


def _bit(draw, content):
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def _byte(draw, content):
    at = draw.randrange(len(content))
    return content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]


def _truncated(draw, content):
    return content[: draw.randrange(len(content))]


def _block(draw, content):
    at, size = draw.randrange(len(content)), draw.choice([1, 16, 512])
    return content[:at] + bytes(len(content[at : at + size])) + content[at + size :]


def _field(draw, content):
    """A field of a JSON file, or of the header of a safetensors file, is another: JSON still.

    A byte, in files of another kind.
    """
    if content.startswith(b"{"):
        return json.dumps(_edited(draw, json.loads(content)), indent=1).encode()
    if content[8:9] != b"{":
        return _byte(draw, content)
    first = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:first])
    metadata = header["__metadata__"]
    if draw.random() < 0.5:
        metadata["record"] = json.dumps(_edited(draw, json.loads(metadata["record"])))
    else:
        header = _edited(draw, header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[first:]


def _edited(draw, value):
    """The same JSON but for one number, text, truth or nothing in it."""
    if isinstance(value, dict) and value:
        name = draw.choice(list(value))
        return value | {name: _edited(draw, value[name])}
    if isinstance(value, list) and value:
        at = draw.randrange(len(value))
        return [*value[:at], _edited(draw, value[at]), *value[at + 1 :]]
    return draw.choice([0, 1.5, "another", True, None])


CHANGES = {"bit": _bit, "byte": _byte, "truncated": _truncated, "block": _block, "field": _field}
KINDS = (*CHANGES, "removed", "replaced", "renamed")


def drawn(folder, copy, others, count=COUNT):
    """Copy the folder and damage the copy, again and again: gives the kind and the file.

    `others` are the contents that may come in the place of a file, by its name.
    """
    draw = random.Random(0)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    for index in range(count):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        kind, path = KINDS[index % len(KINDS)], copy / draw.choice(names)
        before = content = path.read_bytes()
        if kind == "removed":
            path.unlink()
        elif kind == "renamed":
            path.rename(path.with_name(draw.choice(["9", "0", "a copy of "]) + path.name))
        elif kind == "replaced":
            path.write_bytes(draw.choice(others[path.name]))
        else:
            # Zeros may be zero already.
            while content == before:
                content = CHANGES[kind](draw, before)
            path.write_bytes(content)
        yield kind, path
