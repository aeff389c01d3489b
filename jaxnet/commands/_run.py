"""A command as this process: what it is run on, closed pipes, and how it ends."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from jaxnet.commands import _interrupts, _outcomes


def enter(work: Callable[[], int | None]) -> NoReturn:
    """Run a command as this process, and end it with the exit code that `work` gives, 0 where None.

    Ctrl-C ends it at once and without a word; what must tidy up first is called `interruptibly`.
    """
    _interrupts.quiet()
    # As other commands, whose reader has had enough.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        code = _outcomes.outcome(work)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    finally:
        # Else the interpreter looks through all that was ever imported, for half a second.
        gc.freeze()
    if code >= 128:
        # What still compiles in other threads would crash as the interpreter is taken down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def check_machine() -> None:
    """Refuse a JAX that computes wrong values, and variables JAXNET_... that are none.

    Raises:
        InputError: either.
    """
    from jaxnet import devices
    from jaxnet._guards import versions

    versions.check()
    devices.is_fast(None)


def keep_programs() -> None:
    """Keep compiled programs for the next time, where JAX has no place for them yet.

    JAX before 0.11 prints pages of warnings where it finds one again: there none are kept.
    """
    import jax

    if jax.__version_info__ < (0, 11):
        return
    if jax.config.values["jax_compilation_cache_dir"] is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "jaxnet"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
