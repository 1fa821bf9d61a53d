"""Torch module → inference graph on disk, in full precision or int8.

Int8 is static post-training quantisation (NNCF): the ranges of activations are fixed on calibration
texts, so a text scores the same alone or in a batch; SmoothQuant (Xiao et al. 2023) moves outlier
channels of activations into the weights, and biases are corrected.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from engine.errors import DaogouError, MissingExtraError, ModelError
from engine.models.folder import Pooling, Precision
from engine.models.openvino import ov
from engine.models.runtime import Tokens, make_batches

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.utils import ModelOutput

    from indexer.train.crossencoder import CrossEncoder

SMOOTHING = 0.7
"""How far outliers move from activations to weights, 0 to 1: measured, see docs/log.md."""
_EXACT = (".*aten::matmul.*", "__module.model.(classifier|importance)/.*")
"""Operations of our cross-encoder that stay in full precision: cosines of single tokens, and its
head. They are a thousandth of its work."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
POOLER = r"(^|\.)pooler\."
"""Names of weights that a bi-encoder does not use: it pools without any."""
_FOR_QUERIES, _FOR_PASSAGES = ("query",), ("document", "passage", "corpus")
"""Names of prompts, as sentence-transformers looks for them."""
_CONSTANT = r"\.position_ids$"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in full precision, as torch runs it."""

    module: torch.nn.Module
    """Takes token ids, mask and token types, each (batch, length); gives (batch, width)."""
    tokenizer: str
    """JSON of the `tokenizers` library."""
    width: int
    positions: int
    """How many tokens it can read."""
    query_prefix: str = ""
    """What a bi-encoder declares to go before a query."""
    passage_prefix: str = ""


@contextlib.contextmanager
def training_libraries() -> Iterator[None]:
    """Run a block with the training libraries, their chatter about themselves kept off the screen.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            for category in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", category=category)
            warnings.filterwarnings("ignore", message="Converting a tensor to a Python boolean")
            yield
    except ModuleNotFoundError as error:
        if error.name in {"torch", "transformers", "sentence_transformers", "nncf"}:
            raise MissingExtraError("Exporting a model", "train") from error
        raise


@contextlib.contextmanager
def reading(base: str, *, unused: str = "") -> Iterator[None]:
    """Run a block that reads a base's weights; weights that it lacks are not made up.

    The loader of transformers draws what a checkpoint lacks by chance, and only logs it.

    Args:
        base: id or folder, for messages.
        unused: pattern of the names of weights that may be lacking, since nothing asks for them.

    Raises:
        ModelError: the base cannot be read, or lacks weights.
    """
    from transformers import PreTrainedModel  # noqa: PLC0415 - optional

    _quieten()
    loader = PreTrainedModel.__dict__["from_pretrained"]

    def load(kind: type[PreTrainedModel], *given: Any, **options: Any) -> PreTrainedModel:  # noqa: ANN401
        told = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, found = loader.__func__(kind, *given, **(options | told))
        _check_weights(base, found, unused)
        return model

    PreTrainedModel.from_pretrained = classmethod(load)
    try:
        yield
    except (DaogouError, MemoryError, ModuleNotFoundError):
        raise
    except Exception as error:  # `tokenizers` raises nothing more particular
        cure = "It is damaged or not whole: download it or save it again."
        if isinstance(error, (OSError, ValueError)) and not Path(base).is_dir():
            cure = "Name a folder or a Hugging Face id."
        first = str(error).strip().partition("\n")[0].removesuffix(".") or type(error).__name__
        raise ModelError(f"{base} cannot be read as a model: {first}. {cure}") from error
    finally:
        PreTrainedModel.from_pretrained = loader


def load_bi_encoder(base: str) -> tuple[Checkpoint, Pooling]:
    """The checkpoint, from tokens to unit vectors, and how it pools.

    Raises:
        ModelError: the base is not there or not whole, or does more than pool and normalise.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional
    from sentence_transformers.models import Normalize, Pooling, Transformer  # noqa: PLC0415

    with reading(base, unused=POOLER):
        model = SentenceTransformer(base, device="cpu")
    kinds = [type(part) for part in model]
    if kinds[:2] != [Transformer, Pooling] or kinds[2:] not in ([], [Normalize]):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise ModelError(
            f"{base} is made of {names}: only Transformer, Pooling and Normalize are exported."
        )
    pooling = model[1].pooling_mode
    if pooling not in ("mean", "cls"):
        raise ModelError(f"{base} pools by {pooling}: only mean and cls are exported.")
    module = _bi_encoder_module(model[0].auto_model.float(), pooling)
    query_prefix, passage_prefix = (
        _declared(model, names, others)
        for names, others in ((_FOR_QUERIES, _FOR_PASSAGES), (_FOR_PASSAGES, _FOR_QUERIES))
    )
    if (query_prefix or passage_prefix) and not model[1].include_prompt:
        raise ModelError(f"{base} leaves its prompts out when it pools: that is not exported.")
    checkpoint = _checkpoint(base, module, model.tokenizer, model[0].auto_model.config)
    prefixed = replace(checkpoint, query_prefix=query_prefix, passage_prefix=passage_prefix)
    return prefixed, pooling


def load_cross_encoder(base: str) -> tuple[Checkpoint, list[str]]:
    """The checkpoint, from the tokens of a pair to logits, and its labels in logit order.

    The base is any classifier of Hugging Face.

    Raises:
        ModelError: the base is not there or not whole.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415

    with reading(base):
        model = AutoModelForSequenceClassification.from_pretrained(base)
        tokenizer = AutoTokenizer.from_pretrained(base)
    labels = [str(model.config.id2label[place]) for place in range(model.config.num_labels)]
    module = _cross_encoder_module(model.float())
    return _checkpoint(base, module, tokenizer, model.config), labels


def tokenizer_of(base: str, tokenizer: object) -> str:
    """JSON of the `tokenizers` library, of a tokenizer that transformers read.

    Raises:
        ModelError: it is no fast one, or knows no words.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"{base} has no fast tokenizer: save it with one (tokenizer.json) and export that."
        )
    added = backend.get_added_tokens_decoder().values()
    words = backend.get_vocab().keys() - {token.content for token in added if token.special}
    # Without files transformers makes a tokenizer of marks alone, to which every word is unknown.
    if not any(character.isalnum() for word in words for character in word):
        raise ModelError(
            f"{base} has a tokenizer that knows no words: put its tokenizer.json or vocabulary "
            "(vocab.txt) beside its weights."
        )
    return str(backend.to_str())


def weights_digest(module: torch.nn.Module) -> str:
    """SHA-256 over every weight's name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def run_torch(module: torch.nn.Module, sequences: Sequence[Encoding]) -> NDArray[np.float32]:
    """What the module gives in full precision for each sequence, shape (len(sequences), width)."""
    import torch  # noqa: PLC0415 - optional

    rows: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for batch in make_batches(sequences, INPUTS):
            output = module(*(torch.from_numpy(batch.inputs[name]) for name in INPUTS))
            rows.update(zip(batch.places.tolist(), output.numpy(), strict=True))
    return np.stack([rows[place] for place in range(len(sequences))])


def read_tokens(model: CrossEncoder, sequences: Sequence[Encoding]) -> list[NDArray[np.float32]]:
    """What a cross-encoder of ours makes of passages: (tokens, width) of each."""
    import torch  # noqa: PLC0415 - optional

    rows: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for batch in make_batches(sequences, INPUTS[:2]):
            output = model.read_passages(*(torch.from_numpy(batch.inputs[n]) for n in INPUTS[:2]))
            rows.update(zip(batch.places.tolist(), output.numpy(), strict=True))
    return [rows[place][: len(sequence)] for place, sequence in enumerate(sequences)]


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Unit vectors of texts, (batch, dim), from their tokens (batch, length, dim) and the mask."""
    import torch  # noqa: PLC0415 - optional

    if pooling == "cls":
        pooled = hidden[:, 0]
    else:
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (batch, length, 1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(pooled, dim=-1)


def write_graph(
    path: Path,
    module: torch.nn.Module,
    calibration: Sequence[Encoding],
    precision: Precision,
) -> None:
    """Write the graph to `path` (.xml) and its weights beside it (.bin).

    Args:
        path: where to.
        module: takes token ids, mask and token types, each (batch, length).
        calibration: sequences whose activations set the ranges of int8.
        precision: of weights and activations.
    """
    import torch  # noqa: PLC0415 - optional

    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in INPUTS}
    shapes = {name: [-1, -1] for name in INPUTS}
    graph = _convert(module, example, shapes)
    if precision == "int8":
        graph = _quantise(graph, list(map(_one, calibration)))
    ov.save_model(graph, path, compress_to_fp16=False)


def write_reranker_graph(
    path: Path,
    model: CrossEncoder,
    calibration: Iterable[Mapping[str, NDArray[Any]]],
    precision: Precision,
) -> None:
    """Write the graph of a cross-encoder of ours: one query and read passages in, logits out.

    Args:
        path: where to, as `write_graph`.
        model: the checkpoint.
        calibration: inputs as the runtime gives them.
        precision: of weights and activations.
    """
    import torch  # noqa: PLC0415 - optional

    class Meeting(torch.nn.Module):  # type: ignore[misc]
        """A query's tokens and read passages → logits."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            passages: torch.Tensor,
            passage_mask: torch.Tensor,
        ) -> torch.Tensor:
            query = self.model.read_queries(input_ids, attention_mask)
            count = passages.shape[0]
            asked, mask = query.expand(count, -1, -1), attention_mask.expand(count, -1)
            return self.model.meet(asked, mask, passages, passage_mask)

    width = model.transformer.config.hidden_size
    example = {
        "input_ids": torch.ones((1, 8), dtype=torch.int64),
        "attention_mask": torch.ones((1, 8), dtype=torch.int64),
        "passages": torch.ones((3, 16, width)),
        "passage_mask": torch.ones((3, 16), dtype=torch.int64),
    }
    shapes = {name: [-1, -1] for name in example} | {"passages": [-1, -1, width]}
    graph = _convert(Meeting().eval(), example, shapes)
    if precision == "int8":
        graph = _quantise(graph, list(calibration))
    ov.save_model(graph, path, compress_to_fp16=False)


def _convert(
    module: torch.nn.Module, example: Mapping[str, torch.Tensor], shapes: Mapping[str, list[int]]
) -> ov.Model:
    """The graph of a module: whole numbers in two dimensions, others in three."""
    from openvino.tools.ovc import convert_model  # noqa: PLC0415 - not imported with the rest

    graph = convert_model(
        module,
        example_input=dict(example),
        input=[
            (name, ov.PartialShape(shape), ov.Type.f32 if len(shape) > 2 else ov.Type.i64)
            for name, shape in shapes.items()
        ],
    )
    for port, name in zip(graph.inputs, shapes, strict=True):
        port.get_tensor().set_names({name})  # the converter forgets some where they are first cast
    return graph


def _quantise(graph: ov.Model, calibration: Sequence[Mapping[str, NDArray[Any]]]) -> ov.Model:
    import nncf  # noqa: PLC0415 - optional
    from nncf.quantization.advanced_parameters import (  # noqa: PLC0415
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
        OverflowFix,
    )

    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(
        graph,
        nncf.Dataset(calibration),
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(patterns=list(_EXACT), validate=False),
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.DISABLE,  # `read_graph` sees to it, and at less cost
            smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=SMOOTHING),
        ),
    )


def _one(sequence: Encoding) -> dict[str, Tokens]:
    """A batch of one sequence."""
    return next(make_batches([sequence], INPUTS)).inputs


def _bi_encoder_module(transformer: PreTrainedModel, pooling: Pooling) -> torch.nn.Module:
    import torch  # noqa: PLC0415 - optional

    class BiEncoder(torch.nn.Module):  # type: ignore[misc]
        """Tokens → unit vectors."""

        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor,
        ) -> torch.Tensor:
            hidden = _call(self.transformer, input_ids, attention_mask, token_type_ids)
            return pool(hidden.last_hidden_state, attention_mask, pooling)

    return BiEncoder()


def _cross_encoder_module(classifier: PreTrainedModel) -> torch.nn.Module:
    import torch  # noqa: PLC0415 - optional

    class CrossEncoder(torch.nn.Module):  # type: ignore[misc]
        """Tokens of a pair → logits."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor,
        ) -> torch.Tensor:
            output = _call(self.classifier, input_ids, attention_mask, token_type_ids)
            return output.logits  # (batch, labels)

    return CrossEncoder()


def _call(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    token_type_ids: torch.Tensor,
) -> ModelOutput:
    """The model's output. Token types go where there are several: BERT has two, MPNet none."""
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = token_type_ids
    return model(**inputs)


def _check_weights(base: str, found: Mapping[str, Any], unused: str) -> None:
    """Make sure that the weights are the checkpoint's own.

    Args:
        base: id or folder, for messages.
        found: what the loader says of the checkpoint.
        unused: pattern of the names of weights that may be lacking; empty where none may.

    Raises:
        ModelError: some are lacking, or of another shape than the model has them.
    """
    cure = (
        "It was cut short, its config.json is another model's, or it is a model of another kind: "
        "download it or save it again, or name another."
    )
    for name, given, wanted in sorted(found["mismatched_keys"]):
        raise ModelError(
            f"{base} has weights {name} of the shape {tuple(given)}, where its config.json says "
            f"{tuple(wanted)}. {cure}"
        )
    may = "|".join(pattern for pattern in (_CONSTANT, unused) if pattern)
    lacking = sorted(name for name in found["missing_keys"] if not re.search(may, name))
    if lacking:
        others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ModelError(f"{base} lacks the weights {lacking[0]}{others}. {cure}")


def _quieten() -> None:
    """No progress bars and notes of the loader: the screen is the caller's."""
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415 - optional

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _declared(model: SentenceTransformer, names: Sequence[str], others: Sequence[str]) -> str:
    """The prompt that a bi-encoder declares for texts of one kind, empty where it declares none.

    Args:
        model: the bi-encoder.
        names: of prompts for this kind, the first that is there counts.
        others: of prompts for the other kind, for which a default is none for this one.
    """
    default = model.default_prompt_name
    given = [model.prompts.get(name) for name in names]
    given += [model.prompts.get(default)] if default not in others else []
    return next((prompt for prompt in given if prompt), "")


def _checkpoint(
    base: str, module: torch.nn.Module, tokenizer: object, config: PretrainedConfig
) -> Checkpoint:
    words = tokenizer_of(base, tokenizer)
    highest = max(Tokenizer.from_str(words).get_vocab().values())
    if highest >= config.vocab_size:
        raise ModelError(
            f"{base} has a tokenizer with words up to number {highest} and vectors of "
            f"{config.vocab_size} words: give it the tokenizer that it was trained with."
        )
    return Checkpoint(
        module.eval(),
        words,
        config.hidden_size,
        _positions(base, module, config),
    )


def _positions(base: str, module: torch.nn.Module, config: PretrainedConfig) -> int:
    """How many tokens a model of this configuration can read.

    RoBERTa and its kin count positions from behind that of padding: they read two fewer than
    they have.

    Raises:
        ModelError: it does not say.
    """
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        raise ModelError(
            f"{base} is a model of kind {config.model_type}, which does not say how many tokens "
            "it can read (max_position_embeddings). Name a BERT or one of its relatives."
        )
    for name, part in module.named_modules():
        before = getattr(part, "padding_idx", None)
        if name.endswith(".position_embeddings") and before is not None:
            return positions - int(before) - 1
    return positions
