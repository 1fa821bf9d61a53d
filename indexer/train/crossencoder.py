"""The cross-encoder: P = softmax(W·E + b) over the four classes of `Relevance`.

A cross-encoder that reads query and passage in one sequence has to read every candidate anew for
every query. In this one only the query looks across (MORES, Gao, Dai and Callan 2020): a passage is
read once, at index time, by the bi-encoder, whose tokens are kept in the snapshot.

* The lower half of the layers reads the query alone. They are the bi-encoder's and stay so.
* In every upper layer each token of the query attends to the query and to the passage's tokens.
  They start as the bi-encoder's and are learnt. A gate a layer, one number, is added to the
  attention to the passage: at -20 the query does not see it, at 0 both are one text; it starts
  at -3.
* E = [u∘v, |u-v|, m, l] of the pooled texts u and v. For every token of the query the cosine of the
  likest token of the passage is taken (Khattab and Zaharia 2020); m is their weighted mean and l
  about the least of them, so that one thing wished for and not there is seen. W starts as the sum
  of u's and v's cosine and m.

So training begins at the bi-encoder's ranking rather than at chance: see docs/log.md.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from tokenizers import Tokenizer

from engine.errors import ModelError
from engine.models.reranker import READOUT
from engine.types import Relevance
from indexer.export.graph import reading, tokenizer_of

HEAD_FILE = "head.pt"
GATE = -3.0
COSINE_SCALE = 20.0
"""What a cosine of 1 is worth as a score at the start: the scale the bi-encoder was trained at."""

SHARPNESS = 0.1
"""How far above the least met token another may lie and still count: a cosine."""

APART = -1e4
"""Added to attention, it hides what is attended to."""

_UNREADABLE = (AttributeError, EOFError, TypeError, UnpicklingError)
"""What a damaged head, or one beside another kind of model, fails with."""

LEARNT = ("upper", "importance", "classifier")
"""The parts of the model that a checkpoint holds beside the bi-encoder, the gates apart."""


class CrossEncoder(torch.nn.Module):  # type: ignore[misc]
    """Tokens of a query and of a passage → four logits in the order of `Relevance`."""

    def __init__(self, transformer: Any, apart: int | None = None) -> None:  # noqa: ANN401 - untyped
        """Start from a bi-encoder's transformer.

        Args:
            transformer: a BERT. It reads passages and, with its lower layers, queries; it stays as
                it is.
            apart: how many layers read the query alone; half of them if left out.
        """
        super().__init__()
        self.transformer = transformer.requires_grad_(False).eval()
        layers = transformer.encoder.layer
        self.apart = len(layers) // 2 if apart is None else apart
        self.upper = copy.deepcopy(layers[self.apart :]).requires_grad_(True)
        width = transformer.config.hidden_size
        self.gate = torch.nn.Parameter(torch.full((len(self.upper),), GATE))
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

    def train(self, mode: bool = True) -> CrossEncoder:
        """Training mode for what is learnt; the bi-encoder never drops anything out."""
        super().train(mode)
        self.transformer.eval()
        return self

    def read_queries(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What the lower layers make of queries; (batch, length, width) of ids and mask."""
        return self._read(input_ids, attention_mask, self.apart)

    def read_passages(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What the bi-encoder makes of passages; (batch, length, width) of ids and mask."""
        return self._read(input_ids, attention_mask, len(self.transformer.encoder.layer))

    def _read(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, layers: int
    ) -> torch.Tensor:
        hidden: torch.Tensor = self.transformer.embeddings(
            input_ids=input_ids, token_type_ids=torch.zeros_like(input_ids)
        )
        padding = _hidden(attention_mask, hidden.dtype)
        for layer in self.transformer.encoder.layer[:layers]:
            hidden = _through(layer, hidden, padding)
        return hidden

    def meet(
        self,
        query: torch.Tensor,
        query_mask: torch.Tensor,
        passage: torch.Tensor,
        passage_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Logits, shape (batch, 4), of texts that were read.

        Args:
            query: what `read_queries` made of them; (batch, length, width).
            query_mask: 0 where there is no token; (batch, length).
            passage: what `read_passages` made of them; (batch, other length, width).
            passage_mask: 0 where there is no token; (batch, other length).
        """
        both = torch.cat([query_mask, passage_mask], dim=1)
        across = torch.cat([torch.zeros_like(query_mask), torch.ones_like(passage_mask)], dim=1)
        padding, across = _hidden(both, query.dtype), across.to(query.dtype)[:, None, None, :]
        for place, layer in enumerate(self.upper):
            query = _across(layer, query, passage, padding + self.gate[place] * across)
        first, second = _pool(query, query_mask), _pool(passage, passage_mask)
        met = self._matches(query, query_mask, passage, passage_mask)
        parts = [first * second, (first - second).abs(), *met]
        logits: torch.Tensor = self.classifier(torch.cat(parts, dim=-1))
        return logits

    def forward(
        self,
        query_ids: torch.Tensor,
        query_mask: torch.Tensor,
        passage_ids: torch.Tensor,
        passage_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Logits, shape (batch, 4), of token ids and masks, each (batch, its length)."""
        query = self.read_queries(query_ids, query_mask)
        passage = self.read_passages(passage_ids, passage_mask)
        return self.meet(query, query_mask, passage, passage_mask)

    def _matches(
        self,
        query: torch.Tensor,
        query_mask: torch.Tensor,
        passage: torch.Tensor,
        passage_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How well the query's tokens are met: on average and at worst; (batch, 1) each."""
        own = torch.nn.functional.normalize(query, dim=-1)
        other = torch.nn.functional.normalize(passage, dim=-1)
        outside = (1 - passage_mask).to(query.dtype)[:, None, :] * -2.0
        best = (own @ other.transpose(1, 2) + outside).amax(dim=2)  # (batch, length)
        absent = (1 - query_mask).to(query.dtype) * APART
        weights = torch.softmax(self.importance(query)[..., 0] + absent, dim=1)
        mean = (weights * best).sum(dim=1, keepdim=True)
        least = -torch.logsumexp((weights + 1e-9).log() - best / SHARPNESS, dim=1, keepdim=True)
        return mean, least * SHARPNESS


def _hidden(attention_mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention where there is no token; (batch, 1, 1, length)."""
    return (1 - attention_mask).to(dtype)[:, None, None, :] * APART


def _through(layer: Any, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    output = layer(hidden, attention_mask=mask)
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _across(
    layer: Any,  # noqa: ANN401 - transformers is not typed
    query: torch.Tensor,
    passage: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """The layer's output for the query, which attends to both texts; shape of the query kept."""
    attention = layer.attention.self
    both = torch.cat([query, passage], dim=1)
    asked, keys, values = (
        part.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for part in (attention.query(query), attention.key(both), attention.value(both))
    )  # (batch, heads, length, width of a head)
    dropout = attention.dropout.p if layer.training else 0.0
    found = torch.nn.functional.scaled_dot_product_attention(
        asked, keys, values, attn_mask=mask, dropout_p=dropout
    )
    attended = layer.attention.output(found.transpose(1, 2).flatten(2), query)
    output: torch.Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _pool(hidden: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The unit-length mean of the chosen tokens; (batch, width)."""
    weights = chosen.to(hidden.dtype)[..., None]
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
    return torch.nn.functional.normalize(mean, dim=-1)


def start(base: str) -> tuple[CrossEncoder, str]:
    """A cross-encoder that ranks as the bi-encoder `base` does, and its tokenizer.

    Raises:
        ModelError: the base is not there or not whole, or is no BERT.
    """
    if (Path(base) / HEAD_FILE).is_file():
        return load(Path(base))
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - heavy

    with reading(base):
        try:
            transformer = AutoModel.from_pretrained(base, add_pooling_layer=False)
        except TypeError as error:
            raise ModelError(f"{base} is no BERT: {error}. Name one") from error
        tokenizer = tokenizer_of(base, AutoTokenizer.from_pretrained(base))
    if not hasattr(transformer, "encoder") or not hasattr(transformer.encoder, "layer"):
        raise ModelError(f"{base} is a {type(transformer).__name__}: name a BERT")
    plain = Tokenizer.from_str(tokenizer)
    plain.no_padding()
    plain.no_truncation()
    return CrossEncoder(transformer.float()), str(plain.to_str())


def save(folder: Path, model: CrossEncoder, tokenizer: str) -> None:
    """Write the checkpoint: bi-encoder and tokenizer as Hugging Face does, the rest beside."""
    folder.mkdir(parents=True, exist_ok=True)
    model.transformer.save_pretrained(folder)
    save_tokenizer(folder, tokenizer)
    head = {"gate": model.gate.detach()}
    for name in LEARNT:
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

    if not (folder / HEAD_FILE).is_file():
        raise ModelError(
            f"{folder} is no checkpoint of `daogou train reranker`: it has no {HEAD_FILE}. Name "
            "the folder `checkpoint` in what that wrote"
        )
    with reading(str(folder)):
        transformer = AutoModel.from_pretrained(folder, add_pooling_layer=False).float()
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
        Tokenizer.from_str(tokenizer)
    try:
        head = torch.load(folder / HEAD_FILE, weights_only=True)
        model = CrossEncoder(transformer, len(transformer.encoder.layer) - len(head["gate"]))
        known = model.transformer.state_dict(prefix="transformer.")
        model.load_state_dict(known | head)
    except (OSError, ValueError, RuntimeError, LookupError, *_UNREADABLE) as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {error}") from error
    return model, tokenizer
