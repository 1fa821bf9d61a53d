"""The inference runtime, asked by many threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys, threading
from engine.models.openvino import ov

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def ask():
    together.wait()
    for kind in (ov.Type.f32, ov.Type.i64, ov.Type.f16):
        kind.to_dtype()

threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
    assert not thread.is_alive()
"""


def test_threads_that_ask_for_types_at_once_do_not_wait_for_ever() -> None:
    for _ in range(5):
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, timeout=120, check=True)
