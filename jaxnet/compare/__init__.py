"""Does an optimizer beat plain SGD? A fair protocol, thousands of runs, an honest answer."""

from jaxnet.compare.comparison import Comparison as Comparison
from jaxnet.compare.comparison import compare as compare
from jaxnet.compare.comparison import load as load
from jaxnet.compare.comparison import save as save
from jaxnet.compare.protocol import Judging as Judging
from jaxnet.compare.protocol import Protocol as Protocol
from jaxnet.compare.protocol import Search as Search
from jaxnet.compare.protocol import Tuning as Tuning
from jaxnet.compare.runs import Log as Log
from jaxnet.compare.runs import Record as Record
from jaxnet.compare.runs import Runs as Runs
from jaxnet.compare.runs import Seconds as Seconds
from jaxnet.compare.statistics import Interval as Interval
from jaxnet.compare.statistics import Paired as Paired
from jaxnet.compare.statistics import paired as paired
from jaxnet.compare.verdicts import WITHIN as WITHIN
from jaxnet.compare.verdicts import Answer as Answer
