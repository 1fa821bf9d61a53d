"""The bi-encoder draws together what belongs together, and its checkpoint is one to export."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, models

from indexer.evaluate.seen import query_hash, read_training_hashes, write_training_queries
from indexer.train.lists import Candidate, Origin, QueryList
from tests.checkpoints import PASSAGES, save_encoder

pytest.importorskip("torch", reason="training needs torch: pip install 'daogou[train]'")

import torch

from indexer.train import encoder as training
from indexer.train.encoder import train_encoder
from indexer.train.record import Stage

NOUNS = ("kettle", "tent", "mug", "rug", "headphones", "sand", "soil", "pegs")
ASKED = ("electric", "red", "green", "blue", "steel", "wireless", "kitchen", "outdoor")


def lists() -> list[QueryList]:
    """For each query a noun that it does not name, and another noun."""
    found = []
    for place, (query, noun) in enumerate(zip(ASKED, NOUNS, strict=True)):
        other = NOUNS[(place + 1) % len(NOUNS)]
        texts = ((f"the {noun} for travel", 3.0), (f"more {other} of any", 0.0))
        candidates = [
            Candidate(f"{noun}{grade}", text, Origin.JUDGED, "a test", grade)
            for text, grade in texts
        ]
        found.append(QueryList(query, "shop", tuple(candidates)))
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("base") / "tiny-bert")


def cosines(folder: Path, width: int | None = None) -> NDArray[np.float32]:
    """Of every query with every noun's own passage; (queries, passages)."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    model = SentenceTransformer(str(folder), device="cpu", truncate_dim=width)
    sides = ([each.query for each in lists()], [each.candidates[0].passage for each in lists()])
    queries, passages = (model.encode(list(side), normalize_embeddings=True) for side in sides)
    found: NDArray[np.float32] = queries @ passages.T
    return found


def first(similar: NDArray[np.float32]) -> float:
    """Share of queries whose own passage is the nearest."""
    return float((similar.argmax(axis=1) == np.arange(len(similar))).mean())


def test_it_learns_from_lists_and_from_other_lists(base: Path, tmp_path: Path) -> None:
    both = Stage("gold", lists(), epochs=600, learning_rate=3e-3, contrastive=0.5)
    folder = train_encoder(base, [both], tmp_path / "out", max_length=32)
    assert first(cosines(base)) < 0.4
    assert first(cosines(folder)) > 0.6
    again = train_encoder(base, [both], tmp_path / "again", max_length=32)
    assert (cosines(again) == cosines(folder)).all()


def test_leading_dimensions_are_worth_something_alone(base: Path, tmp_path: Path) -> None:
    nested = Stage(
        "gold", lists(), epochs=600, learning_rate=3e-3, contrastive=0.5, matryoshka=(8,)
    )
    folder = train_encoder(base, [nested], tmp_path / "out", max_length=32)
    assert first(cosines(folder, 8)) > first(cosines(base, 8))


def test_the_checkpoint_can_be_exported(base: Path, tmp_path: Path) -> None:
    from indexer.export.graph import load_bi_encoder, training_libraries  # noqa: PLC0415 - heavy

    short = Stage("gold", lists(), contrastive=0.5)
    folder = train_encoder(base, [short], tmp_path / "out", max_length=32)
    with training_libraries():
        checkpoint, pooling = load_bi_encoder(str(folder))
    assert (pooling, checkpoint.width) == ("mean", 32)
    assert (tmp_path / "out" / "README.md").is_file()


def test_what_its_base_was_trained_on_is_not_forgotten(base: Path, tmp_path: Path) -> None:
    from indexer.export.recipe import export_encoder  # noqa: PLC0415 - heavy

    first, second = lists()[:4], lists()[4:]
    before = train_encoder(base, [Stage("gold", first)], tmp_path / "before", max_length=32)
    after = train_encoder(before, [Stage("gold", second)], tmp_path / "after", max_length=32)
    expected = {query_hash(query) for query in ASKED}
    assert read_training_hashes(tmp_path / "after") == expected
    card = (tmp_path / "after" / "README.md").read_text(encoding="utf-8")
    assert "8 training queries" in card
    served = export_encoder(
        after, tmp_path / "served", calibration=PASSAGES, max_length=32, precision="fp32"
    ).folder
    assert read_training_hashes(served) == expected
    # A base may have its list beside its weights, too.
    write_training_queries(base_with_list := shutil.copytree(base, tmp_path / "base"), ["lamp"])
    train_encoder(base_with_list, [Stage("gold", first)], tmp_path / "other", max_length=32)
    assert query_hash("lamp") in read_training_hashes(tmp_path / "other")


def gradients(scored: list[QueryList]) -> list[torch.Tensor]:
    """How the contrastive loss of one batch moves its vectors, given the batch as stubs."""
    queries = torch.randn(len(scored), 8, requires_grad=True)
    count = sum(len(each.candidates) for each in scored)
    passages = torch.randn(count, 8, requires_grad=True)
    batch = training._batch(scored, _stubs(len(scored)), _stubs(count))
    stage = Stage("gold", scored, contrastive=1.0)
    training._loss_of(queries, passages, batch, stage).backward()
    assert queries.grad is not None
    assert passages.grad is not None
    return [queries.grad, passages.grad]


def _stubs(count: int) -> list[Encoding]:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    return list(tokenizer.encode_batch(["a"] * count))


def test_a_list_alone_in_its_batch_has_finite_gradients() -> None:
    assert all(torch.isfinite(each).all() for each in gradients(lists()[:1]))


def test_a_product_or_query_of_its_own_is_no_negative() -> None:
    (one, other, *_) = lists()
    shared = QueryList(other.query, "shop", (*other.candidates, one.candidates[0]))
    again = QueryList(other.query, "elsewhere", other.candidates)
    batch = training._batch([one, shared, again], _stubs(3), _stubs(7))
    assert batch.strangers.tolist() == [
        [False, False, True, True, False, True, True],
        [False, True, False, False, False, False, False],
        [True, True, False, False, False, False, False],
    ]
