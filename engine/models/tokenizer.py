"""Text → tokens, as the model of a folder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer
from tokenizers.processors import TemplateProcessing

from engine.errors import ModelError
from engine.models.folder import TOKENIZER_FILE


def load_tokenizer(folder: Path, max_length: int) -> Tokenizer:
    """The folder's tokenizer, cutting at `max_length` tokens, not padding.

    Of a pair the longer text is cut first, so a query loses nothing unless it alone takes half the
    room. Markers such as `[SEP]` typed by a shopper or a merchant are read as plain words.

    Raises:
        ModelError: the file is not a tokenizer.
    """
    path = folder / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        if type(error) is not Exception:  # the library raises bare Exception for an unreadable file
            raise
        raise ModelError(f"{path} is not a tokenizer: {error}. Export the model again.") from error
    return cutting(tokenizer, max_length)


def cutting(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """The same tokenizer, set to cut and read as `load_tokenizer` says."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    tokenizer.encode_special_tokens = True
    return tokenizer


class PairTokenizer:
    """Query and passage → the tokens of one sequence.

    With a length of its own a passage is read the same whatever the query, so that what a model
    makes of it alone can be kept.
    """

    def __init__(
        self, tokenizer: Tokenizer, max_length: int, passage_length: int | None = None
    ) -> None:
        """Take over a tokenizer.

        Args:
            tokenizer: with a template for pairs.
            max_length: tokens of a pair.
            passage_length: tokens of a passage, the rest being the query's; None cuts the longer
                text of each pair first.
        """
        self._pairs = cutting(tokenizer, max_length)
        self._passages: Tokenizer | None = None
        if passage_length is not None:
            self._queries = cutting(Tokenizer.from_str(tokenizer.to_str()), max_length)
            self._queries.enable_truncation(max_length - passage_length)
            self._passages = cutting(Tokenizer.from_str(tokenizer.to_str()), passage_length)
            names = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
            self._passages.post_processor = TemplateProcessing(
                single="[CLS]:1 $A:1 [SEP]:1", special_tokens=names
            )

    def encode(self, queries: Sequence[str], passages: Sequence[str]) -> list[Encoding]:
        """One sequence a pair; the two name as many texts."""
        if self._passages is None:
            pairs = self._pairs.encode_batch(list(zip(queries, passages, strict=True)))
            return list(pairs)
        first, second = self.encode_queries(queries), self.encode_passages(passages)
        return [
            Encoding.merge([one, other], growing_offsets=False)
            for one, other in zip(first, second, strict=True)
        ]

    def encode_queries(self, queries: Sequence[str]) -> list[Encoding]:
        """The first part of each pair; equal texts are read once.

        Raises:
            ValueError: passages have no length of their own.
        """
        return _once(self._alone()[0], queries)

    def encode_passages(self, passages: Sequence[str]) -> list[Encoding]:
        """The second part of each pair, its type ids 1; equal texts are read once.

        Raises:
            ValueError: passages have no length of their own.
        """
        return _once(self._alone()[1], passages)

    def _alone(self) -> tuple[Tokenizer, Tokenizer]:
        if self._passages is None:
            raise ValueError("this tokenizer cuts queries and passages together")
        return self._queries, self._passages


def _once(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    distinct = list(dict.fromkeys(texts))
    read = dict(zip(distinct, tokenizer.encode_batch(distinct), strict=True))
    return [read[text] for text in texts]
