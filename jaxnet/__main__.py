"""The command line: `jaxnet`, or `python -m jaxnet`."""

import functools
import importlib
import operator
import sys
from typing import Annotated, NoReturn

from jaxnet.commands import _interrupts
from jaxnet.errors import InputError

_ABOUT = """Train networks on tables, compare optimizers, audit gradients.

jaxnet COMMAND --help explains each command; jaxnet --version gives the version.
Exit codes: 0, 1 where an audited gradient is not right or training diverged, 2 bad
input, 130 Ctrl-C."""


def main() -> NoReturn:
    """Run the command that the process was started with."""
    # Before more is loaded: until then Ctrl-C prints where it came.
    _interrupts.quiet()
    from jaxnet.commands import _run

    _run.enter(lambda: run(sys.argv[1:]))


def run(arguments: list[str]) -> int | None:
    """Run one command of its arguments; give its exit code.

    Raises:
        InputError: arguments, settings or files that cannot be used.
    """
    from jaxnet.commands import _run

    if arguments == ["--version"]:
        from jaxnet._guards import versions

        print(f"jaxnet {versions.own()}")
        return None
    chosen = _settings(arguments)
    from jaxnet.commands import _process, settings

    if isinstance(chosen, settings.Audit):  # which runs a user's file
        return _interrupts.interruptibly(lambda: _process.run(chosen))
    # What loads JAX: only here, where it is needed.
    _run.check_machine()
    command = importlib.import_module(f"jaxnet.commands.{type(chosen).__name__.lower()}")
    return _interrupts.interruptibly(lambda: command.main(chosen))


def _settings(arguments: list[str]) -> object:
    try:
        import tyro
    except ModuleNotFoundError as error:
        raise InputError(
            "tyro: expected this package, which reads the command line, got none; run pip install "
            "'jaxnet-lab[commands]'"
        ) from error
    from jaxnet.commands import _run, settings

    declared = (settings.Train, settings.Predict, settings.Compare, settings.Audit)
    kinds = {kind.__name__.lower(): kind for kind in declared}
    if arguments and (kind := kinds.get(arguments[0])):
        parsed = _run.parse(kind, f"jaxnet {arguments[0]}", arguments[1:])
    else:
        commands = (Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items())
        every = functools.reduce(operator.or_, commands)
        parsed = _run.parse(every, "jaxnet", arguments, description=_ABOUT)
    settings.check(parsed)
    return parsed


if __name__ == "__main__":
    main()
