"""The hosts of a run of `jaxnet train`: how this process joins them, or starts them here."""

import json
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from types import FrameType

from jaxnet._guards import records
from jaxnet.commands.settings import Train
from jaxnet.errors import InputError

_JOB, _LOCAL, _ADDRESS = "job", r"local:([1-9]\d{0,3})", r"(.+:\d+),(\d+),(\d+)"


def check(hosts: str) -> None:
    """Refuse what names no hosts.

    Raises:
        InputError: it does not.
    """
    if hosts != _JOB and not re.fullmatch(f"{_LOCAL}|{_ADDRESS}", hosts):
        raise InputError(
            "hosts: expected job, under SLURM or Open MPI, local:N, or HOST:PORT,N,I of process I "
            f"of N, got {hosts!r}; give one of them"
        )


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

    Gives the exit code of the first that was not 0.
    """
    local = re.fullmatch(_LOCAL, settings.hosts or "")
    if not local:
        return None
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, forward) for number in numbers]
    try:
        for index in range(count := int(local[1])):
            one = replace(settings, hosts=f"localhost:{port},{count},{index}")
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from jaxnet.commands import train; "
                f"train.enter({json.dumps(records.plain(one))!r})"
            )
            processes.append(subprocess.Popen([sys.executable, "-c", code]))
        codes = [process.wait() for process in processes]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    return next((code if code > 0 else 128 - code for code in codes if code), 0)
