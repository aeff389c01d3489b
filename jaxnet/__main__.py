"""The command line: `jaxnet`, or `python -m jaxnet`."""

import importlib
import sys
from typing import NoReturn

from jaxnet.commands import _interrupts
from jaxnet.errors import InputError


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

    if arguments[:1] == ["--version"]:  # which needs nothing that reads a command line
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
        from jaxnet.commands import _arguments, settings
    except ModuleNotFoundError as error:
        raise InputError(
            "tyro: expected this package, which reads the command line, got none; run pip install "
            "'jaxnet-lab[commands]'"
        ) from error
    if arguments and (kind := settings.COMMANDS.get(arguments[0])):
        parsed = _arguments.parse(kind, f"jaxnet {arguments[0]}", arguments[1:])
    else:
        parsed = _arguments.parse(settings.Line, "jaxnet", arguments).command
    settings.check(parsed)
    return parsed


if __name__ == "__main__":
    main()
