"""Which runtime and which precision the encoder is served by.

One checkpoint, run by torch in fp32 (the peer) and bf16, ONNX Runtime in fp32 and dynamic int8,
OpenVINO in fp32, bf16 and the calibrated int8 of an exported folder, the last with one stream of
all threads and as served (a stream a core), and that translated for ONNX Runtime, as served on CPUs
without VNNI. All read the same tokens in the same batches.

Speed: every runtime encodes all passages in each round, one after another; texts/s, and the ratio
to torch fp32 within the round: median [least, most]. Loss: cosine of each passage's vector with
torch fp32's. Latency: queries one at a time, tokens given; each runtime takes all of them in its
turn, because thread pools that still spin would slow the next one's query; ratio of medians by
round. Batch invariance: passages and queries alone and among each other; how many vectors moved by
more than 1e-4, and the longest move.

Run: python -m tests.benchmarks.runtimes --base MODEL --catalog FILE --queries FILE
Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import read_model_info
from engine.models.tokenizer import load_tokenizer
from engine.text import passage
from tests.benchmarks.common import (
    Row,
    Spread,
    alternate,
    arguments,
    percentiles,
    read_products,
    read_texts,
    report,
    seconds_of,
    speedup,
)
from tests.benchmarks.encoder_runtimes import PEER, Runtime, load_runtimes

MOVED = 1e-4
WARM_UP = 5


def throughput(
    runtimes: Mapping[str, Runtime], texts: Sequence[Encoding], rounds: int
) -> list[Row]:
    """Texts a second against the peer, and the loss."""
    vectors = {name: run(texts) for name, run in runtimes.items()}  # the warm-up too
    seconds = alternate({name: _call(run, texts) for name, run in runtimes.items()}, rounds)
    rows: list[Row] = []
    for name, spent in seconds.items():
        cosines = (vectors[name] * vectors[PEER]).sum(axis=1)
        rows.append(
            {
                "runtime": name,
                "texts/s": Spread.of([len(texts) / each for each in spent]),
                f"times {PEER}": speedup(spent, seconds[PEER]),
                "cosine min": round(float(cosines.min()), 6),
                "cosine mean": round(float(cosines.mean()), 6),
            }
        )
    return rows


def latency(runtimes: Mapping[str, Runtime], queries: Sequence[Encoding], rounds: int) -> list[Row]:
    """Milliseconds of one query at a time, against the peer."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in runtimes}
    for _ in range(rounds):
        for name, run in runtimes.items():
            spent = [seconds_of(_call(run, [query])) for query in [*queries[:WARM_UP], *queries]]
            seconds[name].append(spent[WARM_UP:])
    medians = {name: [float(np.median(each)) for each in spent] for name, spent in seconds.items()}
    return [
        {
            "runtime": name,
            **percentiles(np.concatenate(spent).tolist(), 50, 95),
            f"times {PEER}": speedup(medians[name], medians[PEER]),
        }
        for name, spent in seconds.items()
    ]


def invariance(runtimes: Mapping[str, Runtime], texts: Sequence[Encoding]) -> list[Row]:
    """How far vectors move with the company a text keeps."""
    rows: list[Row] = []
    for name, run in runtimes.items():
        alone = np.concatenate([run([text]) for text in texts])
        moves = np.linalg.norm(run(texts) - alone, axis=1)
        moved = f"{int((moves > MOVED).sum())} of {len(texts)}"
        rows.append({"runtime": name, "moved": moved, "longest move": float(moves.max())})
    return rows


def _call(run: Runtime, texts: Sequence[Encoding]) -> Callable[[], object]:
    return lambda: run(texts)


def main() -> None:
    """Measure and print."""
    options = _parse()
    info = read_model_info(options.encoder, kind="encoder")
    threads = options.threads or len(os.sched_getaffinity(0))
    tokenizer = load_tokenizer(options.encoder, options.max_length or info.max_length)
    texts = tokenizer.encode_batch(_passages(options.catalog, options.texts))
    queries = tokenizer.encode_batch(read_texts(options.queries, options.single))
    with tempfile.TemporaryDirectory() as folder:
        runtimes = load_runtimes(options.base, options.encoder, info, Path(folder), threads)
        tokens = np.mean([len(text) for text in texts])
        tables = {
            f"{len(texts)} passages of {tokens:.0f} tokens on average, {threads} threads, "
            f"{options.rounds} rounds": throughput(runtimes, texts, options.rounds),
            f"{len(queries)} queries one at a time": latency(runtimes, queries, options.rounds),
            "Alone against batched": invariance(
                runtimes, [*texts[: options.alone], *queries[: options.alone]]
            ),
        }
    report(tables, as_json=options.json)


def _passages(catalog: Path, wanted: int) -> list[str]:
    """Passages at even steps through the catalog."""
    products = read_products(catalog)
    places = np.linspace(0, len(products) - 1, min(wanted, len(products))).astype(int)
    return [passage(products[place]) for place in places]


def _parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--base", required=True, help="model folder or Hugging Face id")
    parser.add_argument("--catalog", type=Path, required=True, help="whose passages are encoded")
    parser.add_argument("--queries", type=Path, required=True, help="one query in each line")
    parser.add_argument("--encoder", type=Path, default=SHIPPED_ENCODER, help="exported from it")
    parser.add_argument("--max-length", type=int, default=0, help="tokens; 0: the encoder's own")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--single", type=int, default=60, help="queries for the latency")
    parser.add_argument(
        "--alone", type=int, default=40, help="passages, and queries, for invariance"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0 takes every usable core")
    return parser.parse_args()


if __name__ == "__main__":
    main()
