"""Is a gradient right? The verdict, the known mistakes and finite differences."""

from jaxnet.audit.corrections import Correction
from jaxnet.audit.gradients import Audit, Row, audit

__all__ = ["Audit", "Correction", "Row", "audit"]
