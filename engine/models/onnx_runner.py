"""Models run by ONNX Runtime: int8 on CPUs without VNNI, twice as fast there (docs/log.md)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models.compiled import load_compiled, place_of, save_compiled
from engine.models.graph import READ_AS, UntranslatableError, read_graph
from engine.models.onnxruntime import ort
from engine.models.runner import Input, Inputs, Run, Wanted

TRANSLATED_AS = "onnx 1"
"""What becomes of a graph that is translated: what is kept of it is kept under this name."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(int64)": np.dtype(np.int64),
    "tensor(float)": np.dtype(np.float32),
}
_NONE = b""
"""What is kept of a graph that has no translation."""
_ERRORS_ONLY = 3  # as the runtime counts severity: its warnings are on what it left out


class OnnxRunner:
    """A `Runner` of a model that was translated for ONNX Runtime."""

    def __init__(self, wanted: Wanted) -> None:
        """Translate the graph, or take what was kept of it.

        Raises:
            UntranslatableError: it has no int8 products, or an operation without a translation.
            RuntimeError: it cannot be read.
            ModelError: as `read_graph`.
        """
        self._session = _session(wanted)
        self._threads = ThreadPoolExecutor(wanted.streams, thread_name_prefix="model")
        self.inputs = {
            port.name: Input(_DTYPES[port.type], tuple(port.shape[2:]))
            for port in self._session.get_inputs()
        }
        self.width = int(self._session.get_outputs()[0].shape[1])

    def start(self, batch: Inputs) -> Run:
        """Begin a batch, in the first of the threads that is free."""
        return _Run(self._threads.submit(self._session.run, None, dict(batch)))


class _Run:
    """A batch in a thread."""

    def __init__(self, result: Future[list[NDArray[Any]]]) -> None:
        self._result = result

    def outputs(self) -> list[NDArray[Any]]:
        """Arrays of their own."""
        return self._result.result()

    def end(self) -> None:
        """Leave it out if it has not begun."""
        self._result.cancel()


def _session(wanted: Wanted) -> ort.InferenceSession:
    identity = {
        "runtime": ort.__version__,
        "variant": f"{READ_AS}, {TRANSLATED_AS}" + ", tokens" * wanted.tokens,
    }
    place = None if wanted.adapters else place_of(wanted.kept, wanted.graph, identity)
    found = load_compiled(place)
    if found == _NONE:
        raise UntranslatableError(f"{wanted.graph}, as before")
    if found is not None:
        try:
            return _loaded(found)
        except Exception:  # noqa: BLE001, S110 - its errors have no common kind: made again
            pass
    from engine.models.translated import translate  # noqa: PLC0415 - slow to load

    graph = read_graph(wanted.graph, tokens=wanted.tokens, adapters=wanted.adapters)
    try:
        content = translate(graph)
        session = _loaded(content)
    except MemoryError:
        raise
    except Exception as error:
        save_compiled(place, wanted.graph, _NONE)
        raise UntranslatableError(str(error)) from error
    save_compiled(place, wanted.graph, content)
    return session


def _loaded(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # each batch on one core, the batches side by side
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
