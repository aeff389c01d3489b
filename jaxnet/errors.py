"""The error that says that input cannot be used; every other is a fault of the code it is from."""


class InputError(ValueError):
    """What was given cannot be used; its text says what was expected, what came and what to do."""


class FunctionError(InputError):
    """A function that was given raised: bad input of a caller's own, a fault of a command's."""
