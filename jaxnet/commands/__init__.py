"""The `jaxnet` command: train, predict, export, compare, audit (extra `commands`).

Each has its settings, one frozen dataclass in `settings`, and a module with a `run` of them for use
from Python. `settings` loads quickly; the modules, which load JAX, are imported where they are run.
"""
