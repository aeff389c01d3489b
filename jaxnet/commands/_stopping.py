"""What asks a run of `jaxnet train` to stop: Ctrl-C, and what ends a process."""

import contextlib
import dataclasses
import signal
from collections.abc import Iterator
from typing import Any

from jaxnet._guards import hosts


@dataclasses.dataclass
class Signals:
    """What asks a run to stop: at once before it is under way, then where it can go on from."""

    number: int = 0
    under_way: bool = False

    def stop(self) -> bool:
        """Tell whether it was asked to stop, on any of its hosts.

        That this is asked shows that it is under way.
        """
        self.under_way = True
        # What arrives meanwhile is asked for the next time.
        asked = hosts.largest(self.number)
        if asked:
            self.number = asked
        return bool(asked)

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
