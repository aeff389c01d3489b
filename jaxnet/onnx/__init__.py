"""Networks as ONNX files, which other programs run, in other languages too (extra `onnx`)."""

from typing import TYPE_CHECKING

from jaxnet._guards import checks

if not TYPE_CHECKING:
    checks.extra("onnx", "onnx", "pyarrow")

from jaxnet.onnx.writing import write

__all__ = ["write"]
