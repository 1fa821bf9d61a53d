"""The inference runtimes report to nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, socket, sys

asked = []
def refuse(*address, **_):
    asked.append(str(address))
    raise OSError("no network here")
socket.socket.connect = refuse
socket.getaddrinfo = refuse

{statement}
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
load_encoder(SHIPPED_ENCODER, threads=1).encode_queries(["red shoes"])

print(json.dumps({{"asked": asked, "modules": sorted(sys.modules)}}))
"""


def run(statement: str, home: Path) -> tuple[list[str], list[str]]:
    """Addresses that a process asked for, and the modules it loaded, once it has encoded a query.

    Little of the environment reaches it: on a build server the runtime keeps quiet by itself.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)],
        cwd=ROOT, env={**kept, "HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    return said["asked"], said["modules"]


@pytest.mark.parametrize("multiplies_bytes", [True, False])
def test_a_process_that_encodes_reports_to_nobody(tmp_path: Path, multiplies_bytes: bool) -> None:
    asked, modules = run(
        f"from engine.models import runtime; runtime.multiplies_bytes = lambda: {multiplies_bytes}",
        tmp_path,
    )
    assert ("onnxruntime" in modules) is not multiplies_bytes
    assert not asked
    assert not list(tmp_path.iterdir())
    assert not [name for name in modules if name.startswith("openvino_telemetry.")]


def test_model_conversion_is_not_imported_and_can_be(tmp_path: Path) -> None:
    _, modules = run("", tmp_path)
    assert "openvino.tools.ovc" not in modules
    asked, modules = run(
        "import engine.models.openvino; from openvino.tools.ovc import convert_model", tmp_path
    )
    assert "openvino.tools.ovc" in modules
    assert not asked
    assert not list(tmp_path.iterdir())
