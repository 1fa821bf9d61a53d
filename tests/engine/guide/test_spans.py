from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.guide.chain import Chances, allowed, best_path, runs
from engine.guide.spans import (
    INFO_FILE,
    MOST_WORDS,
    SHIPPED_SPANS,
    WEIGHTS_FILE,
    SpansInfo,
    load_spans,
    save_spans,
    shipped_tagger,
    words_in,
)

LABELS = ("O", "B-color", "I-color", "B-size", "I-size")


def tagged(query: str) -> list[tuple[str, str]]:
    return [(one.type, one.text) for one in shipped_tagger().tag(query)]


def test_words_are_told_apart_whatever_their_case() -> None:
    for query in ("sony headphones black", "SONY Headphones Black"):
        words = query.split()
        assert tagged(query) == [
            ("creator", words[0]), ("core_product_type", words[1]), ("color", words[2])
        ]  # fmt: skip


def test_a_span_says_where_it_stands_and_how_sure_it_is() -> None:
    query = "  red,  wool sweater for women!"

    spans = shipped_tagger().tag(query)

    assert [query[one.start : one.stop] for one in spans] == [one.text for one in spans]
    assert "red" in [one.text for one in spans]
    assert all(0 < one.confidence <= 1 for one in spans)


@pytest.mark.parametrize(
    "query",
    ["", " ", "…", "!!", "\ud800 red", "保温杯", "\x00", "a" * 5000, "'" * 300, "🎉 kettle"],
)
def test_anything_can_be_tagged(query: str) -> None:
    assert all(0 <= one.start < one.stop <= len(query) for one in shipped_tagger().tag(query))


def test_words_beyond_the_limit_are_in_no_span() -> None:
    query = "red kettle " * MOST_WORDS

    assert max(one.stop for one in shipped_tagger().tag(query)) <= words_in(query)[-1][2]


def test_an_inside_follows_its_own_type_alone() -> None:
    begins, follows = allowed(LABELS)

    assert [label for label, one in zip(LABELS, begins, strict=True) if one == 0] == [
        "O", "B-color", "B-size"
    ]  # fmt: skip
    before = [label for label, one in zip(LABELS, follows[:, 2], strict=True) if one == 0]
    assert before == ["B-color", "I-color"]


def test_runs_are_read_from_labels() -> None:
    labels = ["B-color", "I-color", "B-color", "O", "I-size", "B-size", "I-color"]

    assert list(runs(labels)) == [
        (0, 2, "color"), (2, 3, "color"), (4, 5, "size"), (5, 6, "size"), (6, 7, "color")
    ]  # fmt: skip


def test_the_best_path_and_its_spans_chances_are_those_of_all_paths() -> None:
    random = np.random.default_rng(5)
    begins, follows = allowed(LABELS)
    chain = (
        begins + random.normal(size=5).astype(np.float32),
        follows + random.normal(size=(5, 5)).astype(np.float32),
        random.normal(size=5).astype(np.float32),
    )
    scores = random.normal(size=(4, 5)).astype(np.float32)

    def weight(path: tuple[int, ...]) -> float:
        steps = sum(chain[1][one, other] for one, other in itertools.pairwise(path))
        here = sum(scores[place, one] for place, one in enumerate(path))
        return float(np.exp(chain[0][path[0]] + steps + here + chain[2][path[-1]]))

    paths = {path: weight(path) for path in itertools.product(range(5), repeat=4)}
    assert tuple(best_path(scores, *chain)) == max(paths, key=paths.__getitem__)
    chances = Chances(scores, *chain)
    for first, last in itertools.combinations(range(5), 2):
        having = sum(
            each
            for path, each in paths.items()
            if (first, last, "color") in set(runs([LABELS[one] for one in path]))
        )
        expected = having / sum(paths.values())
        assert chances.of_span(first, last, 1, 2) == pytest.approx(expected, rel=1e-3)


def test_what_is_damaged_or_of_another_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="daogou train spans"):
        load_spans(tmp_path)
    whole = shutil.copytree(SHIPPED_SPANS, tmp_path / "spans")
    content = (whole / WEIGHTS_FILE).read_bytes()
    (whole / WEIGHTS_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="daogou train spans"):
        load_spans(whole)
    info = SpansInfo.model_validate_json((whole / INFO_FILE).read_bytes())
    tagger = shipped_tagger()
    save_spans(whole, info.model_copy(update={"tokenizer": "0" * 64}), tagger.weights)
    with pytest.raises(ModelError, match="another tokenizer"):
        load_spans(whole)
    weights = {name: part for name, part in tagger.weights.items() if name != "inner"}
    save_spans(whole, info, weights)
    with pytest.raises(ModelError, match="inner"):
        load_spans(whole)
