"""The cross-encoder learns to rank and to classify, and what is trained is what serves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.errors import TrainingError
from engine.models.reranker import READOUT
from indexer.evaluate.seen import query_hash, read_training_hashes
from indexer.train.lists import Candidate, Origin, QueryList
from tests.checkpoints import save_encoder

pytest.importorskip("torch", reason="training needs torch: pip install 'daogou[train]'")

import torch

from indexer.train import crossencoder, losses
from indexer.train.record import Stage
from indexer.train.reranker import (
    Texts,
    fit_calibration,
    logits,
    train_reranker,
)

NOUNS = ("kettle", "tent", "mug", "rug", "headphones", "sand")
GRADED = (("the {0} for travel", 3.0), ("red {1} for travel", 0.0), ("green {2} of steel", 0.0))


def candidate(
    passage: str,
    grade: float | None = None,
    *,
    teacher: float | None = None,
    origin: Origin = Origin.JUDGED,
    weight: float = 1.0,
) -> Candidate:
    return Candidate(passage, passage, origin, "a test", grade, teacher, weight)


def graded() -> list[QueryList]:
    """For each noun, what holds it is exact and the rest irrelevant."""
    found = []
    for place, noun in enumerate(NOUNS):
        others = [NOUNS[(place + step) % len(NOUNS)] for step in (1, 2)]
        candidates = [candidate(text.format(noun, *others), grade) for text, grade in GRADED]
        found.append(QueryList(noun, "shop", tuple(candidates)))
    return found


def stage(lists: list[QueryList], **changed: float) -> Stage:
    settings = {"epochs": 200, "learning_rate": 3e-3, "listwise": 1.0, "classes": 1.0} | changed
    return Stage("gold", lists, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("base") / "tiny-bert")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reranker") / "out"
    train_reranker(base, [stage(graded())], out, facts={"licence": "none"})
    return out


def scores(folder: Path, lists: list[QueryList]) -> NDArray[np.float32]:
    model, tokenizer = crossencoder.load(folder)
    pairs = [(each.query, one.passage) for each in lists for one in each.candidates]
    queries, passages = zip(*pairs, strict=True)
    return logits(model, Texts(model, tokenizer), queries, passages)


def test_it_ranks_and_classifies(trained: Path) -> None:
    given = scores(trained / "checkpoint", graded())
    grades = [int(one.grade or 0) for each in graded() for one in each.candidates]
    assert (given.argmax(axis=1) == grades).mean() > 0.9
    ranked = (given @ np.array(READOUT)).reshape(-1, len(GRADED))
    assert (ranked.argmax(axis=1) == 0).all()


def test_a_pair_scores_the_same_alone(trained: Path) -> None:
    together = scores(trained / "checkpoint", graded())
    alone = scores(trained / "checkpoint", graded()[:1])
    assert np.abs(together[: len(alone)] - alone).max() < 1e-4


def test_what_is_kept_of_texts_gives_the_logits_of_the_pair(trained: Path) -> None:
    """A long passage beside a short and a long query: what is kept of it fits either."""
    model, tokenizer = crossencoder.load(trained / "checkpoint")
    queries = ["kettle", "red tent pegs for any sand or soil"]
    passages = ["the steel kettle for travel " * 5, "the mug"]
    texts = Texts(model, tokenizer)
    assert texts.read(queries, passages) == 2
    assert texts.read(queries, passages) == 0
    crossed = [(query, passage) for query in queries for passage in passages]
    sides = [list(side) for side in zip(*crossed, strict=True)]
    read = Tokenizer.from_str(tokenizer)
    whole = []
    with torch.inference_mode():
        kept = texts.logits(model, *sides).numpy()
        for query, passage in crossed:
            ids = [torch.tensor([read.encode(text).ids]) for text in (query, passage)]
            (asked, given), ones = ids, list(map(torch.ones_like, ids))
            whole.append(model(asked, ones[0], given, ones[1])[0].numpy())
    assert np.abs(kept - np.array(whole)).max() < 2e-2  # half precision
    assert np.abs(kept[0] - kept[2]).max() > 0.05


def test_the_encoder_stays_as_it_is(base: Path, trained: Path) -> None:
    before, _ = crossencoder.start(str(base))
    after, _ = crossencoder.load(trained / "checkpoint")
    assert after.apart == before.apart == 1
    for name, weights in before.transformer.state_dict().items():
        assert torch.equal(weights, after.transformer.state_dict()[name])
    moved = {
        name
        for name, weights in before.state_dict().items()
        if not torch.equal(weights, after.state_dict()[name])
    }
    assert {name.split(".")[0] for name in moved} == {"upper", "gate", "importance", "classifier"}


def test_the_record_names_everything(trained: Path) -> None:
    written = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    (only,) = written["stages"]
    assert written["kind"] == "reranker"
    assert (only["lists"], only["pairs"]) == (6, 18)
    assert only["origins"] == {"judged: a test": 18}
    assert only["loss_last_tenth"] < only["loss_first_tenth"]
    hashes = (trained / "training_queries.txt").read_text(encoding="ascii").split()
    assert sorted(hashes) == sorted(query_hash(noun) for noun in NOUNS)
    assert "licence: none" in (trained / "README.md").read_text(encoding="utf-8")


def test_queries_it_is_calibrated_on_are_listed(base: Path, tmp_path: Path) -> None:
    *lists, kept = graded()
    alone = [replace(lists[0], query="one class", candidates=kept.candidates[:1])]
    train_reranker(base, [stage(lists[:2], epochs=1)], tmp_path / "out", calibration=[kept, *alone])
    expected = {query_hash(each.query) for each in (*lists[:2], kept)}
    assert read_training_hashes(tmp_path / "out") == expected


def test_a_second_call_trains_nothing_anew(base: Path, trained: Path) -> None:
    before = scores(trained / "checkpoint", graded())
    train_reranker(base, [stage(graded())], trained, facts={"licence": "none"})
    assert (scores(trained / "checkpoint", graded()) == before).all()
    with pytest.raises(TrainingError, match="--restart"):
        train_reranker(base, [stage(graded()[:3])], trained)


def test_another_base_under_the_same_name_is_refused(base: Path, tmp_path: Path) -> None:
    copied = save_encoder(tmp_path / "tiny-bert")
    short = stage(graded(), epochs=1)
    train_reranker(copied, [short], tmp_path / "out")
    moved = copied.rename(tmp_path / "elsewhere")
    train_reranker(moved, [short], tmp_path / "out")  # the same weights go on
    _change_weights(moved)
    with pytest.raises(TrainingError, match="--restart"):
        train_reranker(moved, [short], tmp_path / "out")


def _change_weights(folder: Path) -> None:
    from transformers import BertModel  # noqa: PLC0415 - heavy

    model = BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias += 0.1
    model.save_pretrained(folder)


def test_untrained_it_ranks_as_its_base_does(base: Path) -> None:
    """With the gates shut: by the cosine of the texts, and of each query token to its likest."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    model, tokenizer = crossencoder.start(str(base))
    with torch.no_grad():
        model.gate.fill_(-1e4)
    pairs = [(each.query, one.passage) for each in graded() for one in each.candidates]
    queries, passages = (list(side) for side in zip(*pairs, strict=True))
    given = logits(model, Texts(model, tokenizer), queries, passages)
    encoder = SentenceTransformer(str(base), device="cpu")
    expected = []
    for pair in pairs:
        first, second = encoder.encode(list(pair), normalize_embeddings=True)
        tokens, others = (
            torch.nn.functional.normalize(each, dim=-1)
            for each in encoder.encode(list(pair), output_value="token_embeddings")
        )
        likest = (tokens @ others.T).amax(dim=1).mean().item()
        expected.append(crossencoder.COSINE_SCALE * (first @ second + likest) / 2)
    assert given @ np.array(READOUT) == pytest.approx(expected, abs=2e-3)


def test_the_least_met_token_is_told(base: Path) -> None:
    model, tokenizer = crossencoder.start(str(base))
    with torch.no_grad():
        model.gate.fill_(-1e4)
        model.classifier.weight.zero_()
        model.classifier.weight[:, -1] = 1.0  # nothing but how the worst token is met
    both, one = logits(
        model,
        Texts(model, tokenizer),
        ["red kettle", "red kettle"],
        ["the red kettle for travel", "the kettle for travel"],
    )
    assert both[0] > one[0]
    assert both[0] < 1.0


def test_a_mined_candidate_is_a_negative_in_the_list() -> None:
    mined = candidate("c", None, teacher=0.9, origin=Origin.MINED, weight=0.5)
    lists = QueryList("q", "shop", (candidate("a", 3.0), candidate("b", 1.0), mined))
    wanted = losses.target(lists)
    assert wanted is not None
    assert wanted.sum() == pytest.approx(1.0)
    assert wanted[0] > wanted[1] > wanted[2] > 0


def test_a_teacher_counts_where_it_scored_every_candidate() -> None:
    taught = [candidate(text, 0.0, teacher=value) for text, value in (("a", 0.0), ("b", -0.7))]
    wanted = losses.target(QueryList("q", "shop", tuple(taught)))
    assert wanted is not None
    assert wanted.tolist() == pytest.approx([0.881, 0.119], abs=1e-3)
    alike = [candidate(text, 2.0) for text in "ab"]
    assert losses.target(QueryList("q", "shop", tuple(alike))) is None
    assert losses.target(QueryList("q", "shop", (candidate("a", 3.0),))) is None


def test_labels_nobody_trusts_move_nothing() -> None:
    lists = QueryList("q", "shop", (candidate("a", 3.0, weight=0), candidate("b", 0.0, weight=0)))
    assert losses.target(lists) is None
    assert losses.classification(torch.randn(2, 4), [3, 0], [0.0, 0.0]).item() == 0.0


def test_temperature_and_biases_are_found() -> None:
    generator = np.random.default_rng(3)
    true = generator.normal(size=(4000, 4)).astype(np.float32)
    grades = (true + generator.gumbel(size=true.shape)).argmax(axis=1)  # drawn from their softmax
    shift = np.array([1.0, -1.0, 0.5, -0.5], dtype=np.float32)
    found = fit_calibration((true - shift) * 2.5, grades)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.bias == pytest.approx((shift * 2.5).tolist(), abs=0.3)
    given = found.probabilities((true - shift) * np.float32(2.5))
    assert given.mean(axis=0) == pytest.approx(np.bincount(grades) / len(grades), abs=0.01)
