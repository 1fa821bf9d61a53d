"""Text → tokens, as the model of a folder reads them."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

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
