"""Is a gradient right? The verdict, the known mistakes and finite differences."""

from jaxnet.audit.display import Audit
from jaxnet.audit.gradients import audit
from jaxnet.audit.rows import Correction, Row

__all__ = ["Audit", "Correction", "Row", "audit"]
