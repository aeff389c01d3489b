"""The hosts of a run of `jaxnet train`: how this process joins them, or starts them here."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from types import FrameType
from typing import IO

from jaxnet._guards import records, sizes
from jaxnet.commands import _outcomes
from jaxnet.commands.settings import Train
from jaxnet.errors import InputError

_JOB, _LOCAL, _ADDRESS = "job", r"local:([1-9]\d{0,8})", r"(.+:\d+),(\d+),(\d+)"


def check(hosts: str) -> None:
    """Refuse what names no hosts, or more of them here than there are cores.

    Raises:
        InputError: it does.
    """
    if hosts != _JOB and not re.fullmatch(f"{_LOCAL}|{_ADDRESS}", hosts):
        raise InputError(
            "hosts: expected job, under SLURM or Open MPI, local:N, or HOST:PORT,N,I of process I "
            f"of N, got {hosts!r}; give one of them"
        )
    if local := re.fullmatch(_LOCAL, hosts):
        sizes.check_cores("hosts", int(local[1]))


def join(hosts: str) -> None:
    """Join the others, before JAX is used.

    Raises:
        InputError: as `devices.connect`.
    """
    from jaxnet import devices

    if address := re.fullmatch(_ADDRESS, hosts):
        devices.connect(address[1], int(address[2]), int(address[3]))
    else:
        devices.connect()


def launched(settings: Train) -> int | None:
    """Run as many processes as are asked for on this machine; None where none are.

    Gives the exit code of the first that was not 0. What another one that failed wrote is shown
    at the end, unless process 0 was refused, which says also why others were.
    """
    local = re.fullmatch(_LOCAL, settings.hosts or "")
    if not local:
        return None
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    numbers, count = (signal.SIGINT, signal.SIGTERM), int(local[1])
    before = [signal.signal(number, forward) for number in numbers]
    with contextlib.ExitStack() as kept:
        said = [kept.enter_context(tempfile.TemporaryFile()) for _ in range(count - 1)]
        try:
            for index, place in enumerate((None, *said)):
                one = replace(settings, hosts=f"{address},{count},{index}")
                processes.append(_started(one, place))
            codes = [process.wait() for process in processes]
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
        for code, place in zip(codes[1:], said, strict=True):
            if code and codes[0] != _outcomes.REFUSED:
                place.seek(0)
                sys.stderr.write(place.read().decode(errors="replace"))
    return next((code if code > 0 else 128 - code for code in codes if code), 0)


def _started(settings: Train, said: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start one of the processes, whose errors go where they are said, or where ours do."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from jaxnet.commands import train; "
        f"train.enter({json.dumps(records.plain(settings))!r})"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=said)
