"""Is a gradient right? The verdict, the known mistakes and finite differences."""

from jaxnet.audit.gradients import Audit, Correction, Row, audit

__all__ = ["Audit", "Correction", "Row", "audit"]
