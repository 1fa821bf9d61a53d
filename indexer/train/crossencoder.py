"""The cross-encoder: P = softmax(W·E + b) over the four classes of `Relevance`.

A bi-encoder cannot be made a cross-encoder by joining query and passage in one sequence: it has
never seen two texts at once, and what it knows is lost at the first step. This one starts as the
bi-encoder it is made from and learns to look across:

* `[CLS] query [SEP]` and `[CLS] passage [SEP]` keep their own positions, as if each were alone;
* in the lower half of the layers the texts do not see each other, and these layers stay as they
  are: what they make of a text can be kept (PreTTR, MacAvaney et al. 2020), which halves training;
* in every upper layer a gate, one number, is added to the attention between the two texts. At -20
  they do not see each other, at 0 they are one text; it starts at -3 and is learnt;
* E = [u∘v, |u-v|, m, l] of the pooled texts u and v. For every token of the query the cosine of the
  likest token of the passage is taken (Khattab and Zaharia 2020); m is their weighted mean and l
  about the least of them, so that one thing wished for and not there is seen. W starts as the sum
  of u's and v's cosine and m.

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

SHARPNESS = 0.1
"""How far above the least met token another may lie and still count: a cosine."""

APART = -1e4
"""Added to attention, it hides what is attended to."""


class CrossEncoder(torch.nn.Module):  # type: ignore[misc]
    """Tokens of a pair → four logits in the order of `Relevance`."""

    def __init__(self, transformer: Any, apart: int | None = None) -> None:  # noqa: ANN401 - untyped
        """Start from a bi-encoder's transformer.

        Args:
            transformer: a BERT. Its embeddings and its lower layers stay as they are.
            apart: how many layers read each text alone; half of them if left out.
        """
        super().__init__()
        self.transformer = transformer
        layers = transformer.encoder.layer
        self.apart = len(layers) // 2 if apart is None else apart
        for part in (transformer.embeddings, *layers[: self.apart]):
            part.requires_grad_(False)
        width = transformer.config.hidden_size
        self.gate = torch.nn.Parameter(torch.full((len(layers) - self.apart,), GATE))
        self.importance = torch.nn.Linear(width, 1)
        self.classifier = torch.nn.Linear(2 * width + 2, len(Relevance))
        readout = torch.tensor(READOUT)
        with torch.no_grad():
            self.classifier.weight.zero_()
            self.classifier.bias.zero_()
            self.importance.weight.zero_()
            self.importance.bias.zero_()
            start = readout[:, None] * COSINE_SCALE / readout.square().sum() / 2
            self.classifier.weight[:, :width] = start
            self.classifier.weight[:, 2 * width : 2 * width + 1] = start

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Logits, shape (batch, 4), of token ids, mask and types, each (batch, length)."""
        first = (1 - token_type_ids) * attention_mask
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        hidden = self.transformer.embeddings(
            input_ids=input_ids,
            token_type_ids=torch.zeros_like(token_type_ids),
            position_ids=places - token_type_ids * first.sum(dim=1, keepdim=True),
        )
        padding, across = _masks(attention_mask, token_type_ids, hidden.dtype)
        for layer in self.transformer.encoder.layer[: self.apart]:
            hidden = _through(layer, hidden, padding + APART * across)
        return self.meet(hidden, attention_mask, token_type_ids)

    def alone(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What the lower layers make of texts; (batch, length, width) of ids and mask.

        The same as inside `forward`, whatever the other text of the pair.
        """
        hidden = self.transformer.embeddings(
            input_ids=input_ids, token_type_ids=torch.zeros_like(input_ids)
        )
        padding, _ = _masks(attention_mask, torch.zeros_like(attention_mask), hidden.dtype)
        for layer in self.transformer.encoder.layer[: self.apart]:
            hidden = _through(layer, hidden, padding)
        return hidden

    def meet(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Logits, shape (batch, 4), of pairs that the lower layers have read.

        Args:
            hidden: what `alone` made of both texts, one after the other; (batch, length, width).
            attention_mask: 0 where there is no token; (batch, length).
            token_type_ids: 1 in the passage; (batch, length).
        """
        padding, across = _masks(attention_mask, token_type_ids, hidden.dtype)
        for place, layer in enumerate(self.transformer.encoder.layer[self.apart :]):
            hidden = _through(layer, hidden, padding + self.gate[place] * across)
        first, second = (1 - token_type_ids) * attention_mask, token_type_ids * attention_mask
        query, passage = _pool(hidden, first), _pool(hidden, second)
        parts = [query * passage, (query - passage).abs(), *self._matches(hidden, first, second)]
        logits: torch.Tensor = self.classifier(torch.cat(parts, dim=-1))
        return logits

    def _matches(
        self, hidden: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How well the query's tokens are met in the passage: on average and at worst; (batch, 1).

        Args:
            hidden: tokens of both texts; (batch, length, width).
            first: 1 for the query's tokens; (batch, length).
            second: 1 for the passage's; (batch, length).
        """
        unit = torch.nn.functional.normalize(hidden, dim=-1)
        outside = (1 - second).to(hidden.dtype)[:, None, :] * -2.0
        best = (unit @ unit.transpose(1, 2) + outside).amax(dim=2)  # (batch, length)
        absent = (1 - first).to(hidden.dtype) * APART
        weights = torch.softmax(self.importance(hidden)[..., 0] + absent, dim=1)
        mean = (weights * best).sum(dim=1, keepdim=True)
        least = -torch.logsumexp((weights + 1e-9).log() - best / SHARPNESS, dim=1, keepdim=True)
        return mean, least * SHARPNESS


def _masks(
    attention_mask: torch.Tensor, token_type_ids: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is added to attention for padding, and 1 where a text looks at the other.

    Shapes (batch, 1, 1, length) and (batch, 1, length, length).
    """
    padding = (1 - attention_mask).to(dtype)[:, None, None, :] * APART
    across = token_type_ids[:, :, None] != token_type_ids[:, None, :]
    return padding, across.to(dtype)[:, None]


def _through(layer: Any, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    output = layer(hidden, attention_mask=mask)
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _pool(hidden: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The unit-length mean of the chosen tokens; (batch, width)."""
    weights = chosen.to(hidden.dtype)[..., None]
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
    return torch.nn.functional.normalize(mean, dim=-1)


def passage_length(max_length: int) -> int:
    """Tokens read of a passage, of those read of a pair: two thirds."""
    return max_length * 2 // 3


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
    head = {"gate": model.gate.detach()}
    for name in ("importance", "classifier"):
        head |= getattr(model, name).state_dict(prefix=f"{name}.")
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
        transformer = AutoModel.from_pretrained(folder, add_pooling_layer=False).float()
        head = torch.load(folder / HEAD_FILE, weights_only=True)
        model = CrossEncoder(transformer, len(transformer.encoder.layer) - len(head["gate"]))
        model.load_state_dict(head, strict=False)
        return model, (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {error}") from error
