"""A user's table in, standardised arrays and the encoder that made them out (extra `tables`).

What is done with a column is planned from its cells, or as asked, and kept in the encoder; what it
is encoded by is fitted on the training rows only:

- numbers, true and false among them: standardised by mean and standard deviation;
- categories: one input each, 0 or 1, for the 100 most frequent, and one for all others;
- dates: year, month, weekday, hour and days, those that vary, standardised;
- missing values: 0 in the inputs above, which is a number's mean; and where training rows had some,
  1 in an input of their own;
- a regression target: standardised; a class label: its place among the sorted labels.

What numbers or names the rows, does not vary or is empty is left out. The plan says so, and what
else is doubtful. Rows count as a person counts them: by the line of a file of text that they begin
on, of which the first is line 1; elsewhere rows 1, 2, ...

Shapes: N rows, I inputs, O outputs.
"""

from typing import TYPE_CHECKING

from jaxnet._guards import checks

if not TYPE_CHECKING:
    checks.extra("tables", "pyarrow")

from jaxnet.tables.cells import Format
from jaxnet.tables.columns import Column, Part, Target
from jaxnet.tables.encoding import Encoder, read_batches
from jaxnet.tables.planning import Plan, Planned
from jaxnet.tables.reading import read
from jaxnet.tables.splitting import Split, split

__all__ = ["Column", "Encoder", "Format", "Part", "Plan", "Planned", "Split", "Target"]
__all__ += ["read", "read_batches", "split"]
