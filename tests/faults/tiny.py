"""An encoder of 32 numbers a word, made on the spot: loaded in milliseconds, as real as any.

It hashes words into rows of a random table and averages the rows: texts that share words are
similar.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.checksums import FileEntry
from engine.models.folder import (
    GRAPH_FILE,
    INFO_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    EncoderInfo,
    fingerprint_of,
)
from engine.models.openvino import ops, ov
from engine.text import PASSAGE_TEMPLATE
from tests.fakes import words
from tests.shop import PRODUCTS

_DIM = 32


def save_tiny_encoder(folder: Path) -> Path:
    """Write the model folder; returns it. Every call writes the same bytes."""
    folder.mkdir(parents=True)
    known = sorted({word for product in PRODUCTS for word in words(product.title)})
    vocabulary = {"[UNK]": 0} | {word: place for place, word in enumerate(known, start=1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / TOKENIZER_FILE))
    ov.save_model(_graph(len(vocabulary)), folder / GRAPH_FILE, compress_to_fp16=False)
    info = EncoderInfo(
        name="tiny",
        max_length=64,
        precision="fp32",
        weights="tiny",
        passage_template=PASSAGE_TEMPLATE,
        fingerprint="",
        files={
            name: FileEntry.of(folder / name) for name in (TOKENIZER_FILE, GRAPH_FILE, WEIGHTS_FILE)
        },
        dim=_DIM,
        pooling="mean",
    )
    info = info.model_copy(update={"fingerprint": fingerprint_of(info)})
    (folder / INFO_FILE).write_text(info.model_dump_json(), encoding="utf-8")
    return folder


def _graph(size: int) -> ov.Model:
    """Mean over the rows of a table that the mask leaves, brought to unit length."""
    table = np.random.default_rng(7).normal(size=(size, _DIM)).astype(np.float32)
    ids = ops.parameter([-1, -1], ov.Type.i64, name="input_ids")  # (batch, length)
    mask = ops.parameter([-1, -1], ov.Type.i64, name="attention_mask")
    for port in (ids, mask):
        port.output(0).get_tensor().set_names({port.get_friendly_name()})
    rows = ops.gather(ops.constant(table), ids, ops.constant(0))  # (batch, length, dim)
    kept = ops.unsqueeze(ops.convert(mask, "f32"), ops.constant([2]))
    total = ops.reduce_sum(ops.multiply(rows, kept), ops.constant([1]))  # (batch, dim)
    bias = ops.constant(np.full((1, _DIM), 0.01, dtype=np.float32))  # no words: a direction too
    unit = ops.normalize_l2(ops.add(total, bias), ops.constant([1]), 1e-12, "add")
    return ov.Model([unit], [ids, mask], "tiny")
