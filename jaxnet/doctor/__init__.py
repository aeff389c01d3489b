"""What helps a run that learned little: its rate, data, start or network, told by short runs."""

from jaxnet.doctor.changes import Change, Diagnosis
from jaxnet.doctor.examining import examine

__all__ = ["Change", "Diagnosis", "examine"]
