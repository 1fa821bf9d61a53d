"""Graphs translated for another runtime: the same numbers, and what cannot be translated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest

from engine.cores import cpu_flags, multiplies_bytes
from engine.models import runtime
from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder, load_encoder
from engine.models.folder import GRAPH_FILE
from engine.models.graph import Adapters, UntranslatableError, read_graph
from engine.models.onnx_runner import OnnxRunner
from engine.models.openvino import ops, ov
from engine.models.openvino_runner import OpenVinoRunner
from engine.models.reranker import SHIPPED_RERANKER, load_adapted
from engine.models.runner import Inputs, Runner, Wanted
from engine.models.translated import translate
from engine.types import ReadPassages

PASSAGES = [
    "electric kettle, 1.7 litres, steel",
    "tent for two",
    "running shoes for men, size 44, blue, breathable mesh, with a sole that was made for asphalt",
    "gift card",
    "",
    "stovetop kettle " * 30,
]


def wanted(graph: Path, *, tokens: bool = False, adapters: Adapters | None = None) -> Wanted:
    return Wanted(graph, 2, tokens=tokens, adapters=adapters or {}, kept=None)


def outputs(runner: Runner, batch: Inputs) -> list[np.ndarray]:
    run = runner.start(batch)
    made = [np.array(one) for one in run.outputs()]
    run.end()
    return made


def by_either(
    monkeypatch: pytest.MonkeyPatch, load: Callable[[], TransformerEncoder]
) -> list[TransformerEncoder]:
    """What is loaded on a CPU with products of bytes, and on one without."""
    loaded = []
    for can in (True, False):
        monkeypatch.setattr(runtime, "multiplies_bytes", lambda can=can: can)
        loaded.append(load())
    return loaded


def test_vectors_and_tokens_are_what_the_other_runtime_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs, ours = by_either(
        monkeypatch, lambda: load_encoder(SHIPPED_ENCODER, threads=2, tokens=True)
    )
    assert isinstance(ours._session._runner, OnnxRunner)
    assert isinstance(theirs._session._runner, OpenVinoRunner)
    (expected, expected_tokens), (vectors, tokens) = (
        each.read_passages(PASSAGES) for each in (theirs, ours)
    )
    assert (vectors * expected).sum(axis=1).min() > 0.997
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    for given, other in zip(tokens, expected_tokens, strict=True):
        assert given.shape == other.shape
        cosines = (given * other).sum(axis=1)
        cosines /= np.linalg.norm(given, axis=1) * np.linalg.norm(other, axis=1)
        assert cosines.min() > 0.98
    queries = [each.begin_query("electric kettle")() for each in (theirs, ours)]
    assert (queries[0] * queries[1]).sum() > 0.997
    assert np.array_equal(queries[1], ours.encode_queries(["electric kettle"]))


def test_a_text_has_the_same_vector_to_the_last_bit_alone_and_among_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, encoder = by_either(monkeypatch, lambda: load_encoder(SHIPPED_ENCODER, threads=2))
    texts = [*PASSAGES, *(f"{text}, {number} pieces" for text in PASSAGES for number in range(9))]
    together = encoder.encode_passages(texts)
    alone = np.concatenate([encoder.encode_passages([text]) for text in texts])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("adapted", [False, True])
def test_classes_are_what_the_other_runtime_gives(
    monkeypatch: pytest.MonkeyPatch, adapted: bool
) -> None:
    encoder = load_encoder(SHIPPED_ENCODER, threads=2, tokens=True)
    hidden = np.zeros((len(PASSAGES), 48, 384), dtype=np.float32)
    mask = np.zeros((len(PASSAGES), 48), dtype=np.int64)
    for place, tokens in enumerate(encoder.read_passages(PASSAGES)[1]):
        hidden[place, : len(tokens)], mask[place, : len(tokens)] = tokens[:48], 1
    random = np.random.default_rng(0)
    outer, inner = (random.normal(0, 0.05, size=size) for size in ((384, 4), (4, 384)))
    layer = {"upper.1.attention.self.value": (outer.astype("f4"), inner.astype("f4"))}
    given = []
    for can in (True, False):
        monkeypatch.setattr(runtime, "multiplies_bytes", lambda can=can: can)
        reranker = load_adapted(SHIPPED_RERANKER, layer if adapted else {}, threads=2)
        given.append(reranker.classify_read("electric kettle", ReadPassages(hidden, mask)))
    assert np.abs(given[0] - given[1]).max() < 0.03
    assert given[1].argmax(axis=1)[0] == given[0].argmax(axis=1)[0]


def save(folder: Path, output: ov.Node, *inputs: ov.Node) -> Path:
    graph = folder / GRAPH_FILE
    ov.save_model(ov.Model([output], list(inputs)), graph, compress_to_fp16=False)
    return graph


def whole_product(given: ov.Node, low: float = -1.0, high: float = 1.55) -> ov.Node:
    """A product of given numbers, (batch, 5, 8), and weights, both as bytes."""
    random = np.random.default_rng(1)
    rounded = ops.fake_quantize(given, *map(np.float32, (low, high, low, high)), levels=256)
    whole = ops.constant(random.integers(-60, 60, size=(6, 8)).astype(np.int8))
    steps = ops.constant(random.uniform(0.01, 0.02, size=(6, 1)).astype(np.float32))
    weights = ops.multiply(ops.convert(whole, "f32"), steps)
    return ops.matmul(rounded, weights, transpose_a=False, transpose_b=True)


def numbers(tokens: int = 5) -> ov.Node:
    parameter = ops.parameter([-1, tokens, 8], np.float32, name="given")
    parameter.output(0).get_tensor().set_names({"given"})
    return parameter


AROUND: dict[str, Callable[[ov.Node], ov.Node]] = {
    "alone": lambda product: product,
    "a bias": lambda product: ops.add(product, ops.constant(np.arange(6, dtype="f4")[None, None])),
    "a bias and GELU": lambda product: ops.gelu(
        ops.add(product, ops.constant(np.linspace(-1, 1, 6, dtype="f4"))), "erf"
    ),
    "used twice": lambda product: ops.add(product, product),
    "normalised": lambda product: ops.add(
        ops.multiply(
            ops.mvn(product, ops.constant([-1]), True, 1e-5, "inside_sqrt"),
            ops.constant(np.linspace(1, 2, 6, dtype="f4")),
        ),
        ops.constant(np.linspace(0, 1, 6, dtype="f4")),
    ),
    "normalised without a bias": lambda product: ops.multiply(
        ops.mvn(product, ops.constant([2]), True, 1e-5, "inside_sqrt"), product
    ),
    "summed over tokens": lambda product: ops.reduce_sum(product, ops.constant([1]), True),
    "length of rows": lambda product: ops.reduce_l2(
        ops.reduce_sum(product, ops.constant([-2])), ops.constant([1]), True
    ),
    "length of all": lambda product: ops.reduce_l2(product, ops.constant([1, 2]), True),
    "parts": lambda product: ops.multiply(*ops.split(product, ops.constant(2), 3).outputs()[:2]),
    "reshaped by what is known when it runs": lambda product: ops.reshape(
        product,
        ops.concat([ops.gather(ops.shape_of(product), ops.constant([0]), ops.constant(0)),
                    ops.constant(np.array([30]))], 0),
        False,
    ),
    "cut": lambda product: ops.slice(
        product, ops.constant([1]), ops.constant([5]), ops.constant([2]), ops.constant([2])
    ),
    "rounded and used as floats": lambda product: ops.add(
        ops.fake_quantize(product, *map(np.float32, (0, 2.55, 0, 2.55)), levels=256), product
    ),
}  # fmt: skip


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_surrounds_a_product_is_translated(
    tmp_path: Path, around: Callable[[ov.Node], ov.Node]
) -> None:
    given = numbers()
    graph = save(tmp_path, around(whole_product(given)), given)
    batch = {"given": np.random.default_rng(2).normal(0, 0.6, size=(3, 5, 8)).astype(np.float32)}
    (expected,) = outputs(OpenVinoRunner(wanted(graph)), batch)
    (made,) = outputs(OnnxRunner(wanted(graph)), batch)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=2e-3)


def test_a_row_has_the_same_length_to_the_last_bit_alone_and_among_others(tmp_path: Path) -> None:
    given = numbers()
    summed = ops.reduce_sum(whole_product(given), ops.constant([1]))
    runner = OnnxRunner(
        wanted(save(tmp_path, ops.reduce_l2(summed, ops.constant([1]), True), given))
    )
    rows = np.random.default_rng(3).normal(0, 0.6, size=(33, 5, 8)).astype(np.float32)
    (together,) = outputs(runner, {"given": rows})
    alone = [outputs(runner, {"given": rows[place : place + 1]})[0] for place in range(33)]
    assert np.array_equal(together, np.concatenate(alone))


ACROSS: dict[str, Callable[[ov.Node], ov.Node]] = {
    "a bias": lambda product: ops.add(product, column()),
    "a bias and GELU": lambda product: ops.gelu(ops.add(product, column()), "erf"),
    "normalised": lambda product: ops.multiply(
        ops.mvn(product, ops.constant([-1]), True, 1e-5, "inside_sqrt"), column()
    ),
    "only centred": lambda product: ops.mvn(
        product, ops.constant([-1]), False, 1e-5, "inside_sqrt"
    ),
}


def column() -> ov.Node:
    """Six numbers across the columns."""
    return ops.constant(np.linspace(0, 1, 6, dtype="f4")[None, :, None])


@pytest.mark.parametrize("around", ACROSS.values(), ids=ACROSS)
def test_numbers_across_the_columns_are_not_taken_for_those_of_columns(
    tmp_path: Path, around: Callable[[ov.Node], ov.Node]
) -> None:
    given = numbers(6)
    graph = save(tmp_path, around(whole_product(given)), given)
    batch = {"given": np.random.default_rng(2).normal(0, 0.6, size=(3, 6, 8)).astype(np.float32)}
    (expected,) = outputs(OpenVinoRunner(wanted(graph)), batch)
    (made,) = outputs(runtime._open(wanted(graph)), batch)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=2e-3)


def test_a_batch_that_was_let_go_before_it_began_is_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, encoder = by_either(monkeypatch, lambda: load_encoder(SHIPPED_ENCODER, threads=1))
    runner = encoder._session._runner
    assert isinstance(runner, OnnxRunner)
    run, runs, gate = runner._session.run, list[object](), Event()

    def counted(*given: object) -> object:
        runs.append(given)
        return run(*given)

    monkeypatch.setattr(runner, "_session", SimpleNamespace(run=counted))
    runner._threads.submit(gate.wait)
    begun = [encoder.begin_query(f"kettle {number}") for number in range(20)]
    kept = begun.pop()
    begun.clear()
    gate.set()
    found = kept()
    assert len(runs) == 1
    assert np.array_equal(found, encoder.encode_queries(["kettle 19"]))


def test_what_the_runtime_refuses_is_left_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "multiplies_bytes", lambda: False)
    monkeypatch.setattr("engine.models.translated.translate", lambda _: b"no model")
    kept = Wanted(SHIPPED_ENCODER / GRAPH_FILE, 1, tokens=False, adapters={}, kept=tmp_path)
    assert isinstance(runtime._open(kept), OpenVinoRunner)
    with pytest.raises(UntranslatableError, match="as before"):
        OnnxRunner(kept)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda given: ops.relu(whole_product(given)), "Relu"),
        (lambda given: ops.add(given, given), "no products of int8"),
        (lambda given: whole_product(given, low=0.1), "without a zero"),
        (lambda given: whole_product(given, low=-2, high=-0.1), "without a zero"),
        (lambda given: ops.mvn(whole_product(given), ops.constant([1]), True, 1e-5, "inside_sqrt"),
         "MVN"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_said_and_left_to_the_other_runtime(
    tmp_path: Path, output: Callable[[ov.Node], ov.Node], said: str
) -> None:
    given = numbers()
    graph = save(tmp_path, output(given), given)
    with pytest.raises(UntranslatableError, match=said):
        translate(read_graph(graph, tokens=False, adapters={}))
    assert isinstance(runtime._open(wanted(graph)), OpenVinoRunner)


def test_what_cannot_be_translated_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: ov.Model) -> bytes:
        raise UntranslatableError("Relu")

    monkeypatch.setattr("engine.models.translated.translate", refuse)
    graph = SHIPPED_ENCODER / GRAPH_FILE
    kept = Wanted(graph, 1, tokens=False, adapters={}, kept=tmp_path)
    with pytest.raises(UntranslatableError, match="Relu"):
        OnnxRunner(kept)
    monkeypatch.undo()
    with pytest.raises(UntranslatableError, match="as before"):
        OnnxRunner(kept)


@pytest.mark.parametrize(
    ("flags", "can"),
    [
        ("fma avx2", False),
        ("avx2 avx512f", False),
        ("avx2 avx512_vnni", True),
        ("avx2 avx_vnni", True),
        ("asimd", True),
        ("", True),
    ],
)
def test_what_a_cpu_says_of_itself(monkeypatch: pytest.MonkeyPatch, flags: str, can: bool) -> None:
    monkeypatch.setattr("engine.cores.cpu_flags", lambda: frozenset(flags.split()))
    assert multiplies_bytes() is can


def test_flags_are_read() -> None:
    assert all(flag.strip() == flag for flag in cpu_flags())
