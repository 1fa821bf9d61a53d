"""ONNX Runtime, kept to itself.

As released it sends what it loads and runs to its maker, with a number made for the machine and
kept in the home folder. It does neither where it is told so before it is loaded, from 1.32 on: a
shop's search engine reports to nobody.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort  # what is set above is to be found by it

__all__ = ["ort"]
"""The inference runtime."""
