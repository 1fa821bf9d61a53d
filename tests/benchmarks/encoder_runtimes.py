"""The encoder by each runtime and precision: token sequences in, unit vectors out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from engine.models.folder import GRAPH_FILE, EncoderInfo
from engine.models.onnx_runner import OnnxRunner
from engine.models.onnxruntime import ort
from engine.models.openvino import ov
from engine.models.openvino_runner import OpenVinoRunner
from engine.models.runtime import Outputs, Session, Tokens, make_batches
from indexer.export.graph import (
    INPUTS,
    load_bi_encoder,
    run_torch,
    training_libraries,
    weights_digest,
    write_graph,
)

if TYPE_CHECKING:
    import torch

PEER = "torch fp32"

Runtime = Callable[[Sequence[Encoding]], Outputs]
"""Token sequences → unit vectors, shape (len(sequences), dim)."""


def load_runtimes(
    base: str, encoder: Path, info: EncoderInfo, folder: Path, threads: int
) -> dict[str, Runtime]:
    """Every way to run the checkpoint `base`, and the `encoder` exported from it.

    Args:
        base: model folder or Hugging Face id.
        encoder: folder of the exported encoder, whose own word about itself is `info`.
        folder: where to write what the runtimes read.
        threads: CPU threads of each.
    """
    with training_libraries():
        module = load_bi_encoder(base)[0].module
        if weights_digest(module) != info.weights:
            raise SystemExit(
                f"{encoder} was exported from other weights than {base}: give its own --base, or "
                "an --encoder made by `daogou export encoder`"
            )
        return {
            **torch_runtimes(module, threads),
            **onnx_runtimes(module, folder, threads),
            **openvino_runtimes(module, encoder, folder, threads),
        }


def torch_runtimes(module: torch.nn.Module, threads: int) -> dict[str, Runtime]:
    """The checkpoint as it was trained."""
    import torch  # noqa: PLC0415 - optional

    torch.set_num_threads(threads)

    def in_bf16(*inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(*inputs).float()

    return {
        PEER: lambda sequences: run_torch(module, sequences),
        "torch bf16": lambda sequences: run_torch(in_bf16, sequences),
    }


def onnx_runtimes(module: torch.nn.Module, folder: Path, threads: int) -> dict[str, Runtime]:
    """The checkpoint as ONNX, in full precision and with dynamic int8."""
    import torch  # noqa: PLC0415 - optional
    from onnxruntime import quantization  # noqa: PLC0415 - imports what it says it does not need

    full, dynamic = folder / "fp32.onnx", folder / "int8.onnx"
    example = tuple(torch.ones((2, 8), dtype=torch.int64) for _ in INPUTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of indices this model never takes
        torch.onnx.export(
            module,
            example,
            str(full),
            input_names=list(INPUTS),
            output_names=["vectors"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in INPUTS},
            opset_version=17,
            dynamo=False,
        )
    quantization.quantize_dynamic(full, dynamic, weight_type=quantization.QuantType.QInt8)

    def runtime(path: Path) -> Runtime:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = [each.name for each in session.get_inputs()]
        return _batched(lambda batch: session.run(None, batch)[0], inputs)

    return {"ONNX Runtime fp32": runtime(full), "ONNX Runtime int8 dynamic": runtime(dynamic)}


def openvino_runtimes(
    module: torch.nn.Module, encoder: Path, folder: Path, threads: int
) -> dict[str, Runtime]:
    """The checkpoint as an OpenVINO graph, and the exported encoder."""
    graph = folder / GRAPH_FILE
    write_graph(graph, module, [], "fp32")

    def one_stream(path: Path, precision: str) -> Runtime:
        options = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
        }
        model = ov.Core().compile_model(path, "CPU", options)
        request = model.create_infer_request()
        inputs = [port.any_name for port in model.inputs]
        return _batched(lambda batch: request.infer(batch)[0], inputs)

    return {
        "OpenVINO fp32, one stream": one_stream(graph, "f32"),
        "OpenVINO bf16, one stream": one_stream(graph, "bf16"),
        "OpenVINO int8, one stream": one_stream(encoder / GRAPH_FILE, "f32"),
        "OpenVINO int8, a stream a core": Session(
            encoder, max_length=128, threads=threads, opened_by=OpenVinoRunner
        ).run,
        "ONNX Runtime int8, a stream a core": Session(
            encoder, max_length=128, threads=threads, opened_by=OnnxRunner
        ).run,
    }


def _batched(infer: Callable[[dict[str, Tokens]], Outputs], inputs: Sequence[str]) -> Runtime:
    """A runtime that is given one batch at a time, cut as the engine cuts them."""

    def run(sequences: Sequence[Encoding]) -> Outputs:
        rows: dict[int, NDArray[np.float32]] = {}
        for batch in make_batches(sequences, inputs):
            rows.update(zip(batch.places.tolist(), infer(batch.inputs).copy(), strict=True))
        return np.stack([rows[place] for place in range(len(sequences))])

    return run
