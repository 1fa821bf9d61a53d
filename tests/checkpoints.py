"""Tiny BERT checkpoints with random weights, and texts to calibrate them on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NOUNS = ["kettle", "tent", "pegs", "sand", "soil", "coffee", "mug", "headphones", "rug", "item"]
OTHERS = ["electric", "red", "green", "blue", "steel", "wireless", "kitchen", "outdoor", "travel"]
SMALL = ["any", "for", "more", "words", "inch", "the", "of", "and", "in", "holds", "temperature"]
WORDS = [*NOUNS, *OTHERS, *SMALL]
QUERIES = [" ".join(words) for words in itertools.combinations(WORDS[:9], 2)]
PASSAGES = [" ".join(WORDS[start % 20 : start % 20 + 3 + start % 11]) for start in range(220)]
PAIRS = [(QUERIES[place % len(QUERIES)], text) for place, text in enumerate(PASSAGES)]


def save_encoder(folder: Path) -> Path:
    """Save a plain BERT without a head; returns `folder`."""
    from transformers import BertModel  # noqa: PLC0415 - optional

    return _save(folder, BertModel, {})


def save_cross_encoder(folder: Path, labels: Sequence[str]) -> Path:
    """Save a BERT classifier with these labels in logit order; returns `folder`."""
    from transformers import BertForSequenceClassification  # noqa: PLC0415 - optional

    return _save(folder, BertForSequenceClassification, {"id2label": dict(enumerate(labels))})


def _save(folder: Path, architecture: Any, options: dict[str, Any]) -> Path:  # noqa: ANN401
    import torch  # noqa: PLC0415 - optional
    from transformers import BertConfig, BertTokenizerFast  # noqa: PLC0415

    folder.mkdir(parents=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,-'/[]", *"热水壶不锈钢"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.1,
        **options,
    )
    architecture(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
