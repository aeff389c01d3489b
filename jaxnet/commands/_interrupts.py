"""Ctrl-C: a process ends at once and without a word, or when it has tidied up or kept its run."""

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
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


@dataclasses.dataclass
class Signals:
    """What asks a run to stop: at once before it is under way, then where it can go on from."""

    number: int = 0
    under_way: bool = False

    def stop(self) -> bool:
        """Tell whether it was asked to stop; that this is asked shows that it is under way."""
        self.under_way = True
        return bool(self.number)

    def receive(self, number: int, _: Any) -> None:
        """Take a signal."""
        self.number = number
        if not self.under_way:
            raise SystemExit(128 + number)


@contextlib.contextmanager
def signals() -> Iterator[Signals]:
    """Have Ctrl-C, and what ends a process, ask a run to stop."""
    received, numbers = Signals(), (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, received.receive) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _unraisable(raised: Any) -> None:
    """End quietly where Ctrl-C came in a callback, whose errors Python prints and goes on."""
    if raised.exc_type in (KeyboardInterrupt, SystemExit):
        leave()
    sys.__unraisablehook__(raised)
