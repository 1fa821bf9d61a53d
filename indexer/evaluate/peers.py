"""What `daogou bench` measures daogou against: the pipelines of the modules beside this one."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from indexer.evaluate.peer_serving import Searches

PEER, ONNX, TXTAI, KEYWORD = "peer", "onnxruntime", "txtai", "bm25s"
"""As a report names them."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A pipeline: its module has `build` and `load`, as `peer_serving.main` takes them."""

    name: str
    module: str
    needs: tuple[str, ...]
    """Modules that must be installed beside the extra `train`."""

    def installed(self) -> bool:
        """Whether it can be measured here."""
        return all(importlib.util.find_spec(name) is not None for name in self.needs)

    def command(self, what: str, models: Path) -> list[str]:
        """The command line that does `what`, to which the paths of files are to be added."""
        return [sys.executable, "-m", self.module, what, "--models", str(models)]

    def load(self, index: Path, models: Path) -> Searches:
        """Open an index in this process."""
        opened: Searches = importlib.import_module(self.module).load(index, models)
        return opened


PEERS = (
    Peer(PEER, "indexer.evaluate.peer", ()),
    Peer(ONNX, "indexer.evaluate.peer_onnx", ("onnxruntime", "onnx", "onnxscript", "torch")),
    Peer(TXTAI, "indexer.evaluate.peer_txtai", ("txtai",)),
    Peer(KEYWORD, "indexer.evaluate.peer_keyword", ("bm25s",)),
)
"""The first is what every report compares with; the others are measured where installed."""
