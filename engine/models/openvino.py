"""OpenVINO, the inference runtime, kept to itself.

As installed it tells a web analytics service of every process that imports it, with a number made
for the machine and kept in the home folder. It does so through a package of its own, and does
without where that is missing: a shop's search engine reports to nobody.

Model conversion is left out of the import too, a third of its time; `indexer.export` imports it.

What it makes of itself when first asked for types of numpy is asked for here: of two threads that
do so at once, one waits for the other while it holds the interpreter's lock, and both for ever.
"""

# ruff: noqa: E402 - what is below is to find what is above

from __future__ import annotations

import sys

_REPORTING, _CONVERSION = "openvino_telemetry", "openvino.tools.ovc"

sys.modules[_REPORTING] = None  # type: ignore[assignment]  # how Python is told it is not there
_left_out = _CONVERSION not in sys.modules
if _left_out:
    sys.modules[_CONVERSION] = None  # type: ignore[assignment]

import numpy as np
import openvino as ov
import openvino.opset13 as ops

if _left_out:
    del sys.modules[_CONVERSION]

_asked = ov.Tensor(np.zeros(1, dtype=np.float32)).data, ov.Type.f32.to_dtype()

__all__ = ["ops", "ov"]
