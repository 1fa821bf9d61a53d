"""What every encoder and every reranker must do. Subclass, and give the fixture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.protocols import Encoder, PassageReranker, Reranker
from engine.types import ReadPassages

KETTLE = (
    "Emberly Gooseneck Electric Kettle 1.0 L. Kitchen > Kettles. Holds any temperature for coffee"
)
PEGS = "Ridgeline Tent Pegs, 10-pack. Outdoor > Tents. Seven-inch aluminium pegs for sand and soil"
TEXTS = [
    "kettle",
    KETTLE,
    PEGS,
    "tent pegs for sand",
    "",
    "5'x7' rug, 1/2 in pile",
    " ".join([KETTLE, PEGS] * 8),  # longer than any model reads
    "热水壶 不锈钢 \N{TEAPOT} \N{RIGHT-TO-LEFT MARK}שלום",
    "a [SEP] b [CLS] [PAD]",
    *(f"{PEGS} item {number}" + " more words" * (number % 17) for number in range(40)),
]


class EncoderContract:
    """Contract of `engine.protocols.Encoder`."""

    texts: tuple[str, ...] = tuple(TEXTS)

    def test_vectors_are_float32_of_unit_length_and_as_wide_as_said(self, encoder: Encoder) -> None:
        for vectors in (encoder.encode_queries(self.texts), encoder.encode_passages(self.texts)):
            assert vectors.shape == (len(self.texts), encoder.dim)
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)

    def test_no_texts_give_no_vectors(self, encoder: Encoder) -> None:
        assert encoder.encode_queries([]).shape == (0, encoder.dim)
        assert encoder.encode_passages([]).shape == (0, encoder.dim)

    def test_a_text_has_one_vector_alone_or_in_any_batch(self, encoder: Encoder) -> None:
        together = encoder.encode_passages(self.texts)
        backwards = encoder.encode_passages(self.texts[::-1])[::-1]
        alone = np.concatenate([encoder.encode_passages([text]) for text in self.texts])
        for other in (backwards, alone):
            assert np.abs((together * other).sum(axis=1) - 1.0).max() <= 1e-3

    def test_batching_changes_no_order(self, encoder: Encoder) -> None:
        passages = encoder.encode_passages(self.texts)
        batched = encoder.encode_queries(self.texts) @ passages.T
        for query, scores in zip(self.texts, batched, strict=True):
            alone = (encoder.encode_queries([query]) @ passages.T)[0]
            assert np.abs(alone - scores).max() <= 1e-3
            best, second = np.argsort(-scores)[:2]
            if scores[best] - scores[second] > 2e-3:
                assert np.argmax(alone) == best

    def test_the_passage_about_it_is_nearest(self, encoder: Encoder) -> None:
        scores = encoder.encode_queries(["electric kettle", "tent pegs"]) @ (
            encoder.encode_passages([PEGS, KETTLE]).T
        )
        assert scores.argmax(axis=1).tolist() == [1, 0]

    def test_threads_share_one_encoder(self, encoder: Encoder) -> None:
        expected = encoder.encode_queries(self.texts)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda text: encoder.encode_queries([text])[0], self.texts * 3))
        assert np.abs((np.array(answers) * np.tile(expected, (3, 1))).sum(1) - 1.0).max() <= 1e-3

    def test_the_fingerprint_is_a_digest(self, encoder: Encoder) -> None:
        assert len(encoder.fingerprint) == 64
        assert int(encoder.fingerprint, 16) > 0


class RerankerContract:
    """Contract of `engine.protocols.Reranker`."""

    def test_rows_are_probabilities_of_the_four_classes(self, reranker: Reranker) -> None:
        probabilities = reranker.classify(["kettle"] * len(TEXTS), TEXTS)
        assert probabilities.shape == (len(TEXTS), 4)
        assert probabilities.dtype == np.float32
        assert probabilities.min() >= 0.0
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)

    def test_no_pairs_give_no_rows(self, reranker: Reranker) -> None:
        assert reranker.classify([], []).shape == (0, 4)

    def test_a_pair_scores_the_same_alone_or_in_any_batch(self, reranker: Reranker) -> None:
        queries = [
            ("kettle", "tent pegs", "", KETTLE * 9)[place % 4] for place in range(len(TEXTS))
        ]
        together = reranker.classify(queries, TEXTS)
        alone = [
            reranker.classify([query], [text])[0]
            for query, text in zip(queries, TEXTS, strict=True)
        ]
        assert np.abs(together - np.array(alone)).max() <= 1e-3

    def test_query_and_passage_both_count(self, reranker: Reranker) -> None:
        pegs, kettle, other = reranker.classify(["kettle", "kettle", "pegs"], [PEGS, KETTLE, PEGS])
        assert np.abs(pegs - kettle).max() > 1e-4
        assert np.abs(pegs - other).max() > 1e-4

    def test_unpaired_queries_are_refused(self, reranker: Reranker) -> None:
        with pytest.raises(ValueError):
            reranker.classify(["kettle"], [KETTLE, PEGS])

    def test_threads_share_one_reranker(self, reranker: Reranker) -> None:
        expected = reranker.classify(["kettle"] * len(TEXTS), TEXTS)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda text: reranker.classify(["kettle"], [text])[0], TEXTS))
        assert np.abs(np.array(answers) - expected).max() <= 1e-3

    def test_the_fingerprint_is_a_digest(self, reranker: Reranker) -> None:
        assert len(reranker.fingerprint) == 64
        assert int(reranker.fingerprint, 16) > 0


class PassageRerankerContract:
    """Contract of `engine.protocols.PassageReranker`."""

    def test_rows_are_probabilities_of_the_four_classes(
        self, passage_reranker: PassageReranker, read: ReadPassages
    ) -> None:
        probabilities = passage_reranker.classify_read("kettle", read)
        assert probabilities.shape == (len(TEXTS), 4)
        assert probabilities.dtype == np.float32
        assert probabilities.min() >= 0.0
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)

    def test_no_passages_give_no_rows(
        self, passage_reranker: PassageReranker, read: ReadPassages
    ) -> None:
        nothing = ReadPassages(read.hidden[:0], read.mask[:0])
        assert passage_reranker.classify_read("kettle", nothing).shape == (0, 4)

    def test_a_pair_scores_the_same_alone_or_in_any_batch(
        self, passage_reranker: PassageReranker, read: ReadPassages
    ) -> None:
        for query in ("kettle", "tent pegs", "", KETTLE * 9):
            together = passage_reranker.classify_read(query, read)
            for place in range(len(TEXTS)):
                own = slice(place, place + 1)
                alone = ReadPassages(read.hidden[own], read.mask[own])
                (found,) = passage_reranker.classify_read(query, alone)
                assert np.abs(found - together[place]).max() <= 1e-3

    def test_query_and_passage_both_count(
        self, passage_reranker: PassageReranker, read: ReadPassages
    ) -> None:
        kettle = passage_reranker.classify_read("kettle", read)
        pegs = passage_reranker.classify_read("pegs", read)
        assert np.abs(kettle[1] - kettle[2]).max() > 1e-4
        assert np.abs(kettle[1] - pegs[1]).max() > 1e-4

    def test_threads_share_one_reranker(
        self, passage_reranker: PassageReranker, read: ReadPassages
    ) -> None:
        queries = ["kettle", "tent pegs", "mug"] * 4
        expected = [passage_reranker.classify_read(query, read) for query in queries[:3]]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda each: passage_reranker.classify_read(each, read), queries))
        assert np.abs(np.array(found) - np.array(expected * 4)).max() <= 1e-3
