"""Ctrl-C: at once and without a word, or by a KeyboardInterrupt where something is to be tidied."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

STOPPED = 128 + signal.SIGINT


def leave(*_: Any) -> NoReturn:
    """End the process at once."""
    os._exit(STOPPED)


def quiet() -> None:
    """Have Ctrl-C end the process at once from here on, but under nohup."""
    sys.unraisablehook = _unraisable
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def interruptibly(work: Callable[[], int | None]) -> int | None:
    """Run what Ctrl-C ends by a KeyboardInterrupt: it tidies up."""
    if signal.getsignal(signal.SIGINT) is not leave:
        return work()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return work()
    finally:
        signal.signal(signal.SIGINT, leave)


def _unraisable(raised: Any) -> None:
    """End quietly where Ctrl-C came in a callback, whose errors Python prints and goes on."""
    if raised.exc_type in (KeyboardInterrupt, SystemExit):
        leave()
    sys.__unraisablehook__(raised)
