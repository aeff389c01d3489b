"""A user's table in, standardised arrays and the encoder that made them out (extra `tables`).

What is done to a column is fitted on the training rows only, and kept in the encoder:

- numbers and booleans: standardised by mean and standard deviation; a constant column is all 0;
- categories, which are text: one input each, 0 or 1; one that no training row had is all 0;
- missing values (empty, NA, NaN, null): 0 in the inputs above, which is a number's mean; and where
  training rows had some, 1 in an input of their own;
- a regression target: standardised; a class label: its place among the sorted labels.

What has no sensible encoding is refused by file, column and row: infinite numbers and those too
large for float32, text most of which reads as numbers, text that names the rows, dates, columns
without values, targets missing in a row. Rows count as a person counts them: by the line of a CSV
or TSV file that they begin on, of which the header is line 1; elsewhere rows 1, 2, ...

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
