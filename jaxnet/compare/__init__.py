"""Does an optimizer beat plain SGD? A fair protocol, thousands of runs, an honest answer."""

from jaxnet.compare.budgets import Foreseen
from jaxnet.compare.comparison import Comparison, compare, foresee, load, save
from jaxnet.compare.inputs import Problem
from jaxnet.compare.league import Along, along
from jaxnet.compare.protocol import Judging, Protocol, Tuning
from jaxnet.compare.runs import Log, Record, Runs, Seconds
from jaxnet.compare.search import Search
from jaxnet.compare.statistics import Interval, Paired, paired
from jaxnet.compare.verdicts import Answer, Pair

__all__ = [
    "Along",
    "Answer",
    "Comparison",
    "Foreseen",
    "Interval",
    "Judging",
    "Log",
    "Pair",
    "Paired",
    "Problem",
    "Protocol",
    "Record",
    "Runs",
    "Search",
    "Seconds",
    "Tuning",
    "along",
    "compare",
    "foresee",
    "load",
    "paired",
    "save",
]
