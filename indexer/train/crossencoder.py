"""The cross-encoder: P = softmax(W·E + b) over the four classes of `Relevance`.

A bi-encoder cannot be made a cross-encoder by joining query and passage in one sequence: it has
never seen two texts at once, and what it knows is lost at the first step. This one starts as the
bi-encoder it is made from and learns to look across:

* `[CLS] query [SEP]` and `[CLS] passage [SEP]` keep their own positions, as if each were alone;
* in every layer a gate, one number, is added to the attention between the two texts. At -20 they
  do not see each other, at 0 they are one text; it starts at -3 and is learnt;
* E = [u∘v, |u-v|] of the pooled texts u and v, and W starts as their cosine.

So training begins at the bi-encoder's ranking rather than at chance: see docs/log.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from engine.errors import ModelError
from engine.types import Relevance

HEAD_FILE = "head.pt"
GATE = -3.0
COSINE_SCALE = 20.0
"""What a cosine of 1 is worth as a score at the start: the scale the bi-encoder was trained at."""

READOUT = (-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0)
"""Weights of the four logits in the one score that lists are ranked by."""

_APART = -1e4


class CrossEncoder(torch.nn.Module):  # type: ignore[misc]
    """Tokens of a pair → four logits in the order of `Relevance`."""

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401 - transformers is not typed
        """Start from a bi-encoder's transformer; its embeddings stay as they are."""
        super().__init__()
        self.transformer = transformer
        for parameter in transformer.embeddings.parameters():
            parameter.requires_grad_(False)
        width = transformer.config.hidden_size
        self.gate = torch.nn.Parameter(torch.full((len(transformer.encoder.layer),), GATE))
        self.classifier = torch.nn.Linear(2 * width, len(Relevance))
        readout = torch.tensor(READOUT)
        with torch.no_grad():
            self.classifier.weight.zero_()
            self.classifier.bias.zero_()
            start = readout[:, None] * COSINE_SCALE / readout.square().sum()
            self.classifier.weight[:, :width] = start

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Logits, shape (batch, 4), of token ids, mask and types, each (batch, length)."""
        first = (1 - token_type_ids) * attention_mask
        second = token_type_ids * attention_mask
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        hidden = self.transformer.embeddings(
            input_ids=input_ids,
            token_type_ids=torch.zeros_like(token_type_ids),
            position_ids=places - token_type_ids * first.sum(dim=1, keepdim=True),
        )
        padding = (1 - attention_mask).to(hidden.dtype)[:, None, None, :] * _APART
        across = token_type_ids[:, :, None] != token_type_ids[:, None, :]
        across = across.to(hidden.dtype)[:, None]  # (batch, 1, length, length)
        for place, layer in enumerate(self.transformer.encoder.layer):
            output = layer(hidden, attention_mask=padding + self.gate[place] * across)
            hidden = output[0] if isinstance(output, tuple) else output
        query, passage = _pool(hidden, first), _pool(hidden, second)
        logits: torch.Tensor = self.classifier(
            torch.cat([query * passage, (query - passage).abs()], dim=-1)
        )
        return logits


def _pool(hidden: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The unit-length mean of the chosen tokens; (batch, width)."""
    weights = chosen.to(hidden.dtype)[..., None]
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
    return torch.nn.functional.normalize(mean, dim=-1)


def pair_tokenizer(tokenizer: str) -> str:
    """The tokenizer (JSON of the `tokenizers` library), giving the second text a `[CLS]` too."""
    changed = Tokenizer.from_str(tokenizer)
    ids = [(token, changed.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    if any(place is None for _, place in ids):
        raise ModelError("the base's tokenizer lacks [CLS] or [SEP]: name a BERT")
    changed.no_padding()
    changed.no_truncation()
    changed.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [CLS]:1 $B:1 [SEP]:1", special_tokens=ids
    )
    return str(changed.to_str())


def start(base: str) -> tuple[CrossEncoder, str]:
    """A cross-encoder that ranks as the bi-encoder `base` does, and its tokenizer.

    Raises:
        ModelError: the base is not there, or is no BERT.
    """
    if (Path(base) / HEAD_FILE).is_file():
        return load(Path(base))
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - heavy

    try:
        transformer = AutoModel.from_pretrained(base, add_pooling_layer=False)
        tokenizer = AutoTokenizer.from_pretrained(base).backend_tokenizer.to_str()
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{base} is neither a BERT's folder nor a known id: {error}") from error
    if not hasattr(transformer, "encoder") or not hasattr(transformer.encoder, "layer"):
        raise ModelError(f"{base} is a {type(transformer).__name__}: name a BERT")
    return CrossEncoder(transformer.float()), pair_tokenizer(tokenizer)


def save(folder: Path, model: CrossEncoder, tokenizer: str) -> None:
    """Write the checkpoint: transformer and tokenizer as Hugging Face does, the head beside."""
    folder.mkdir(parents=True, exist_ok=True)
    model.transformer.save_pretrained(folder)
    save_tokenizer(folder, tokenizer)
    head = {"gate": model.gate.detach(), **model.classifier.state_dict(prefix="classifier.")}
    torch.save(head, folder / HEAD_FILE)


def save_tokenizer(folder: Path, tokenizer: str) -> None:
    """Write the tokenizer (JSON of the `tokenizers` library) as Hugging Face reads it."""
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")


def load(folder: Path) -> tuple[CrossEncoder, str]:
    """The checkpoint `save` wrote.

    Raises:
        ModelError: it cannot be read.
    """
    from transformers import AutoModel  # noqa: PLC0415 - heavy

    try:
        model = CrossEncoder(AutoModel.from_pretrained(folder, add_pooling_layer=False).float())
        model.load_state_dict(torch.load(folder / HEAD_FILE, weights_only=True), strict=False)
        return model, (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {error}") from error
