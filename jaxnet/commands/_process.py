"""An audit of a user's file in a process of its own: however the file ends, that ends there.

Its output goes where that of this process goes, as it comes; it has nothing to read.
"""

import functools
import io
import json
import signal
import subprocess
import sys

from jaxnet._guards import records
from jaxnet.commands import _interrupts, _outcomes, _run
from jaxnet.commands.settings import Audit

_QUIET = (signal.SIGINT, signal.SIGPIPE)


def run(settings: Audit) -> int:
    """Audit a file; give the exit code, or say in a line how the file ended its process."""
    # Modules are found where this process finds them, not in the folder it was started in.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from jaxnet.commands import _process; "
        f"_process.enter({json.dumps(records.plain(settings))!r})"
    )
    # Ctrl-C waits in the process until that can be quiet about it; here it is heard right after.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        return _code(process.wait(), settings)
    finally:
        process.kill()
        process.wait()


def _code(ended: int, settings: Audit) -> int:
    """Give the exit code for how a process ended, by itself or by a signal."""
    if ended >= 0:
        return ended
    by = signal.Signals(-ended)
    if by in _QUIET:
        return 128 + by
    if by == signal.SIGALRM:
        return _outcomes.refused(
            f"{settings.file}: expected an audit within {settings.timeout:g} seconds, got none; "
            "give --timeout more, the network fewer units, or leave training out of the file"
        )
    why = ", as where memory runs out" if by == signal.SIGKILL else ""
    return _outcomes.refused(
        f"{settings.file}: expected code that runs; its process was ended by {by.name}{why}; "
        "run the file by Python itself to see where"
    )


def enter(text: str) -> None:
    """Be the process: audit by settings in JSON, and end when their time is over."""
    _interrupts.quiet()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    settings = records.typed(Audit, json.loads(text))
    # Whatever holds the interpreter, and where the process that started this one is gone as well.
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    # What was printed before it ends is not lost.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    _run.enter(functools.partial(_audit, settings))


def _audit(settings: Audit) -> int:
    _run.check_machine()
    from jaxnet.commands import audit

    return audit.main(settings)
