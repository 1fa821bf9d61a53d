"""Models run by OpenVINO."""

from __future__ import annotations

import contextlib
from io import BytesIO
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models.compiled import load_compiled, place_of, save_compiled
from engine.models.graph import READ_AS, read_graph
from engine.models.openvino import ov
from engine.models.runner import Input, Inputs, Run, Wanted


class OpenVinoRunner:
    """A `Runner` of a model that OpenVINO has compiled."""

    def __init__(self, wanted: Wanted) -> None:
        """Compile the graph, or take what was kept of it.

        Raises:
            RuntimeError: it cannot be read or compiled.
            ModelError: as `read_graph`.
        """
        self._model = _compiled(wanted)
        self._streams = wanted.streams
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        self.inputs = {
            port.any_name: Input(np.dtype(port.element_type.to_dtype()), _following(port))
            for port in self._model.inputs
        }
        self.width = int(self._model.output(0).partial_shape[1].get_length())

    def start(self, batch: Inputs) -> Run:
        """Begin a batch, in a request that is idle or a new one (0.03 ms)."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._model.create_infer_request()
        request.start_async(dict(batch))
        return _Run(self, request)

    def take_back(self, request: ov.InferRequest) -> None:
        """Have a request that is done run another batch, if there are not enough."""
        if self._idle.qsize() < self._streams:
            self._idle.put(request)


class _Run:
    """A batch in a request of its own."""

    def __init__(self, runner: OpenVinoRunner, request: ov.InferRequest) -> None:
        self._runner, self._request, self._done = runner, request, False

    def outputs(self) -> list[NDArray[Any]]:
        """Views of what the request holds, until it runs the next batch."""
        self._request.wait()
        self._done = True
        return [tensor.data for tensor in self._request.output_tensors]

    def end(self) -> None:
        """Give the request back; one that failed or was not waited for would fail again."""
        if self._done:
            self._runner.take_back(self._request)
        else:
            self._request.cancel()


def _following(port: ov.Output) -> tuple[int, ...]:
    return tuple(int(size.get_length()) for size in list(port.partial_shape)[2:])


def _compiled(wanted: Wanted) -> ov.CompiledModel:
    """The model, ready to run as many batches at once as are wanted."""
    options = {
        "NUM_STREAMS": wanted.streams,
        "INFERENCE_NUM_THREADS": wanted.streams,
        # A pinned stream may share its core with the thread that reads the query meanwhile.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",  # same scores on CPUs with and without bf16
    }
    core = ov.Core()
    identity = {
        "runtime": ov.get_version(),
        "device": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "options": {name: str(value) for name, value in options.items()},
        "variant": f"{READ_AS}, tokens" if wanted.tokens else READ_AS,
    }
    place = None if wanted.adapters else place_of(wanted.kept, wanted.graph, identity)
    found = load_compiled(place)
    if found is not None:
        with contextlib.suppress(RuntimeError):
            return core.import_model(BytesIO(found), "CPU", options)
    graph = read_graph(wanted.graph, tokens=wanted.tokens, adapters=wanted.adapters)
    model = core.compile_model(graph, "CPU", options)
    if place:
        save_compiled(place, wanted.graph, model.export_model().getvalue())
    return model
