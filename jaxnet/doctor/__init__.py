"""What is visibly wrong with a run: its rate, data, start or network, told by trying changes."""

from jaxnet.doctor.examining import Change, Diagnosis, Finding, examine

__all__ = ["Change", "Diagnosis", "Finding", "examine"]
