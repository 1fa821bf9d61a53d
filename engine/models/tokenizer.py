"""Text → tokens, as the model of a folder reads them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from engine.errors import ModelError
from engine.models.folder import TOKENIZER_FILE


def load_tokenizer(folder: Path, max_length: int) -> Tokenizer:
    """The folder's tokenizer, cutting at `max_length` tokens, not padding.

    Of a pair the longer text is cut first, so a query loses nothing unless it alone takes half the
    room. Markers such as `[SEP]` typed by a shopper or a merchant are read as plain words.

    Who asks for the same again gets the same object: it is not to be changed.

    Raises:
        ModelError: the file is not a tokenizer.
    """
    path = folder / TOKENIZER_FILE
    try:
        return _tokenizer(path.read_text(encoding="utf-8"), max_length)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not a tokenizer: {error}. Export the model again.") from error


@lru_cache(maxsize=8)
def _tokenizer(content: str, max_length: int) -> Tokenizer:
    """The tokenizer of a file; several parts of a server read with the same one, of 7 MB."""
    try:
        return cutting(Tokenizer.from_str(content), max_length)
    except Exception as error:
        if type(error) is not Exception:  # the library raises bare Exception for what it can't read
            raise
        raise ValueError(error) from error


def cutting(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """The same tokenizer, set to cut and read as `load_tokenizer` says."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    tokenizer.encode_special_tokens = True
    return tokenizer
