"""Exporting a checkpoint: what is written computes what torch computes, or nothing is written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer
from typer.testing import CliRunner

from daogou import app
from engine.errors import CatalogError, MissingExtraError, ModelError, SettingsError
from engine.models.encoder import load_encoder
from engine.models.folder import (
    WEIGHTS_FILE,
    EncoderInfo,
    ModelInfo,
    Precision,
    read_model_info,
    verify_model,
)
from engine.models.reranker import load_reranker
from indexer.export import recipe
from indexer.export.recipe import (
    _write_info,
    export_encoder,
    export_reranker,
    export_token_reranker,
)
from tests.checkpoints import PAIRS, PASSAGES, QUERIES, save_cross_encoder, save_encoder

needs_torch = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('torch')",
    reason="exporting needs torch: pip install 'daogou[train]'",
)
TEXTS = PASSAGES + QUERIES
Weights = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("checkpoint") / "tiny-bert")


@needs_torch
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_exported_encoder_computes_what_its_base_does(
    base: Path, tmp_path: Path, precision: Precision
) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional

    report = export_encoder(
        base, tmp_path / "out", calibration=TEXTS, max_length=32, precision=precision
    )
    given = load_encoder(report.folder).encode_queries(TEXTS)
    expected = SentenceTransformer(str(base), device="cpu").encode(TEXTS, normalize_embeddings=True)
    cosines = (given * expected).sum(axis=1)
    assert cosines.min() > (0.99999 if precision == "fp32" else 0.98)
    assert report.info == verify_model(report.folder)
    assert report.info.name == "tiny-bert"
    assert report.info.quantisation["cosine_min"] <= cosines.mean()
    assert report.size_bytes == sum(path.stat().st_size for path in report.folder.iterdir())


@needs_torch
def test_prefixes_reach_the_model_and_the_fingerprint(base: Path, tmp_path: Path) -> None:
    plain = export_encoder(base, tmp_path / "a", calibration=TEXTS, max_length=32, precision="fp32")
    prefixed = export_encoder(
        base,
        tmp_path / "b",
        calibration=TEXTS,
        max_length=32,
        precision="fp32",
        query_prefix="kettle ",
        passage_prefix="item ",
        provenance={"license": "none"},
    )
    assert isinstance(prefixed.info, EncoderInfo)
    assert prefixed.info.weights == plain.info.weights
    assert prefixed.info.fingerprint != plain.info.fingerprint
    first, second = load_encoder(prefixed.folder), load_encoder(plain.folder)
    np.testing.assert_allclose(
        first.encode_queries(["red mug"]), second.encode_queries(["kettle red mug"]), atol=1e-5
    )
    np.testing.assert_allclose(
        first.encode_passages(["red mug"]), second.encode_passages(["item red mug"]), atol=1e-5
    )
    assert "| license | none |" in (prefixed.folder / "README.md").read_text()


@needs_torch
@pytest.mark.parametrize(
    ("prompts", "default", "taken"),
    [
        ({"query": "kettle ", "passage": "item "}, None, ("kettle ", "item ")),
        ({"query": "kettle "}, "query", ("kettle ", "")),
        ({"any": "kettle "}, "any", ("kettle ", "kettle ")),
        ({"any": "kettle "}, None, ("", "")),
    ],
)
def test_what_a_base_declares_goes_before_texts(
    base: Path,
    tmp_path: Path,
    prompts: dict[str, str],
    default: str | None,
    taken: tuple[str, str],
) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional

    model = SentenceTransformer(
        str(base), device="cpu", prompts=prompts, default_prompt_name=default
    )
    model.save(str(tmp_path / "prompted"))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    command = ["export", "encoder", str(tmp_path / "prompted"), "--precision", "fp32"]
    command += ["--calibration", str(tmp_path / "texts.txt"), "--max-length", "32"]
    ran = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "a")], catch_exceptions=False)
    info = read_model_info(tmp_path / "a", kind="encoder")
    assert (info.query_prefix, info.passage_prefix) == taken
    assert ran.stdout.count("Puts ") == sum(map(bool, taken))
    given = load_encoder(tmp_path / "a").encode_queries(["red mug"])
    expected = model.encode_query(["red mug"], prompt=taken[0], normalize_embeddings=True)
    np.testing.assert_allclose(given, expected, atol=1e-4)
    none = ["--query-prefix", "", "--passage-prefix", "", "--out", str(tmp_path / "b")]
    assert "Puts " not in CliRunner().invoke(app, [*command, *none]).stdout
    info = read_model_info(tmp_path / "b", kind="encoder")
    assert (info.query_prefix, info.passage_prefix) == ("", "")


@needs_torch
def test_training_reads_texts_without_what_its_base_declares(base: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional

    from indexer.train.encoder import train_encoder  # noqa: PLC0415 - needs torch

    prompts = {"query": "kettle "}
    SentenceTransformer(str(base), device="cpu", prompts=prompts).save(str(tmp_path / "prompted"))
    trained = train_encoder(tmp_path / "prompted", [], tmp_path / "trained")
    report = export_encoder(trained, tmp_path / "out", calibration=TEXTS, max_length=32)
    assert isinstance(report.info, EncoderInfo)
    assert report.info.query_prefix == ""


@needs_torch
def test_a_failed_export_leaves_what_was_there(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_encoder(base, out, calibration=TEXTS, max_length=32, precision="fp32")
    before = verify_model(out)
    with pytest.raises(ModelError, match="multiple of 16"):
        export_encoder(base, out, calibration=TEXTS, max_length=128)
    assert verify_model(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@needs_torch
def test_an_export_replaces_what_was_there(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_encoder(base, out, calibration=TEXTS, max_length=32, precision="fp32")
    export_encoder(base, out, calibration=TEXTS, max_length=48, precision="fp32")
    assert verify_model(out).max_length == 48
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@needs_torch
def test_a_classifier_of_other_classes_is_refused(tmp_path: Path) -> None:
    base = save_cross_encoder(tmp_path / "two", labels=("no", "yes"))
    with pytest.raises(ModelError, match="gives 2 logits, labelled no, yes"):
        export_reranker(base, tmp_path / "out", calibration=PAIRS, max_length=64)
    assert not (tmp_path / "out").exists()


@needs_torch
def test_labels_may_be_named_where_the_base_does_not(tmp_path: Path) -> None:
    base = save_cross_encoder(tmp_path / "four", labels=[f"LABEL_{place}" for place in range(4)])
    with pytest.raises(ModelError, match="name them in logit order"):
        export_reranker(base, tmp_path / "out", calibration=PAIRS, max_length=64)
    report = export_reranker(
        base, tmp_path / "out", calibration=PAIRS, labels="ICSE", max_length=64, precision="fp32"
    )
    labels = load_reranker(report.folder).info.labels
    assert labels == ("irrelevant", "complement", "substitute", "exact")
    assert report.info.quantisation["shift_max"] < 1e-5


@needs_torch
def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere cannot be read as a model"):
        export_encoder(tmp_path / "nowhere", tmp_path / "out", calibration=TEXTS)


def changed(folder: Path, base: Path, change: Callable[[Weights], Weights]) -> Path:
    """A copy of the base with other weights."""
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415 - optional

    shutil.copytree(base, folder)
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def without(pattern: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: value for key, value in weights.items() if pattern not in key}


@needs_torch
def test_weights_that_a_base_lacks_are_not_made_up(base: Path, tmp_path: Path) -> None:
    from indexer.train import crossencoder  # noqa: PLC0415 - needs torch
    from indexer.train.encoder import train_encoder  # noqa: PLC0415 - needs torch

    lost = changed(tmp_path / "lost", base, without("layer.0"))
    foreign = changed(
        tmp_path / "foreign", base,
        lambda weights: {f"model.net.{key}": value for key, value in weights.items()},
    )  # fmt: skip
    for folder, first in ((lost, "encoder.layer.0.attention"), (foreign, "embeddings.LayerNorm")):
        with pytest.raises(ModelError, match=rf"{folder.name} lacks the weights {first}"):
            export_encoder(folder, tmp_path / "out", calibration=TEXTS, max_length=32)
        with pytest.raises(ModelError, match=rf"{folder.name} lacks the weights {first}"):
            crossencoder.start(str(folder))
        with pytest.raises(ModelError, match=rf"{folder.name} lacks the weights {first}"):
            train_encoder(folder, [], tmp_path / "trained")
    assert not (tmp_path / "out").exists()


@needs_torch
def test_weights_that_do_not_fit_their_configuration_are_named(base: Path, tmp_path: Path) -> None:
    other = changed(tmp_path / "other", base, dict)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"hidden_size": 48}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"shape \(32,\), where its config\.json says \(48,\)"):
        export_encoder(other, tmp_path / "out", calibration=TEXTS, max_length=32)


@needs_torch
def test_a_classifier_needs_its_head_and_an_encoder_no_pooler(base: Path, tmp_path: Path) -> None:
    bare = changed(tmp_path / "bare", base, without("pooler"))
    export_encoder(bare, tmp_path / "out", calibration=TEXTS, max_length=32, precision="fp32")
    whole = save_cross_encoder(tmp_path / "four", labels="ESCI")
    for part in ("classifier", "pooler"):
        folder = changed(tmp_path / part, whole, without(part))
        with pytest.raises(ModelError, match=rf"lacks the weights (bert\.)?{part}"):
            export_reranker(folder, tmp_path / "two", calibration=PAIRS, max_length=64)


@needs_torch
def test_a_base_without_words_is_refused(base: Path, tmp_path: Path) -> None:
    from indexer.train import crossencoder  # noqa: PLC0415 - needs torch
    from indexer.train.encoder import train_encoder  # noqa: PLC0415 - needs torch

    mute = shutil.copytree(base, tmp_path / "mute")
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        (mute / name).unlink()
    told = r"mute has a tokenizer that knows no words: put its tokenizer\.json"
    with pytest.raises(ModelError, match=told):
        export_encoder(mute, tmp_path / "out", calibration=TEXTS, max_length=32)
    with pytest.raises(ModelError, match=told):
        crossencoder.start(str(mute))
    with pytest.raises(ModelError, match=told):
        train_encoder(mute, [], tmp_path / "trained")


@needs_torch
def test_a_tokenizer_with_more_words_than_the_base_has_vectors_is_refused(
    base: Path, tmp_path: Path
) -> None:
    grown = shutil.copytree(base, tmp_path / "grown")
    tokenizer = Tokenizer.from_file(str(grown / "tokenizer.json"))
    tokenizer.add_tokens(["kettlebell"])
    tokenizer.save(str(grown / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"grown has a tokenizer with words up to number \d+"):
        export_encoder(grown, tmp_path / "out", calibration=TEXTS, max_length=32)


@needs_torch
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_was_cut_short_is_no_traceback(base: Path, tmp_path: Path, name: str) -> None:
    from indexer.train import crossencoder  # noqa: PLC0415 - needs torch

    cut = shutil.copytree(base, tmp_path / "cut")
    (cut / name).write_bytes((cut / name).read_bytes()[:100])
    told = "cut cannot be read as a model: .* download it or save it again"
    with pytest.raises(ModelError, match=told):
        export_encoder(cut, tmp_path / "out", calibration=TEXTS, max_length=32)
    with pytest.raises(ModelError, match=told):
        crossencoder.start(str(cut))


@needs_torch
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.safetensors", "cannot be read as a model: .* download it or save it again"),
        ("tokenizer.json", "cannot be read as a model: .* download it or save it again"),
        ("head.pt", "is not a whole checkpoint"),
    ],
)
def test_a_trained_checkpoint_that_was_cut_short_is_no_traceback(
    base: Path, tmp_path: Path, name: str, told: str
) -> None:
    from indexer.train import crossencoder  # noqa: PLC0415 - needs torch

    crossencoder.save(tmp_path / "cut", *crossencoder.start(str(base)))
    whole = (tmp_path / "cut" / name).read_bytes()
    for kept in (0, 100):
        (tmp_path / "cut" / name).write_bytes(whole[:kept])
        with pytest.raises(ModelError, match=f"cut {told}"):
            crossencoder.load(tmp_path / "cut")
    with pytest.raises(ModelError, match=r"is no checkpoint .*: it has no head\.pt"):
        crossencoder.load(base)


@needs_torch
def test_a_model_that_does_not_say_how_much_it_reads_is_refused(base: Path, tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel, XLNetConfig, XLNetModel  # noqa: PLC0415

    t5 = T5EncoderModel(
        T5Config(vocab_size=133, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    )
    xlnet = XLNetModel(XLNetConfig(vocab_size=133, d_model=32, n_layer=1, n_head=2, d_inner=64))
    for kind, model in (("t5", t5), ("xlnet", xlnet)):
        folder = shutil.copytree(base, tmp_path / kind)
        model.save_pretrained(folder)
        with pytest.raises(ModelError, match=rf"{kind} is a model of kind {kind}, .* Name a BERT"):
            export_encoder(folder, tmp_path / "out", calibration=TEXTS, max_length=32)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused_before_any_work(
    tmp_path: Path, temperature: float
) -> None:
    told = rf"--temperature: {temperature} is none\. Give a number above 0"
    with pytest.raises(SettingsError, match=told):
        export_reranker("any", tmp_path / "out", calibration=PAIRS, temperature=temperature)
    with pytest.raises(SettingsError, match=told):
        export_token_reranker(
            tmp_path, tmp_path, tmp_path / "out", calibration=PAIRS, temperature=temperature
        )


@needs_torch
def test_what_cannot_be_read_back_replaces_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export_encoder(base, out, calibration=TEXTS, max_length=32, precision="fp32")
    before = verify_model(out)

    def damaged(folder: Path, info: ModelInfo) -> ModelInfo:
        (folder / WEIGHTS_FILE).write_bytes(b"")
        return _write_info(folder, info)

    monkeypatch.setattr(recipe, "_write_info", damaged)
    monkeypatch.setattr(recipe, "load_encoder", lambda _folder: load_encoder(out))
    with pytest.raises(ModelError, match=r"model\.bin has 0 bytes"):
        export_encoder(base, out, calibration=TEXTS, max_length=32, precision="fp32")
    assert verify_model(out) == before


@needs_torch
def test_a_checkpoint_is_not_exported_over_another_encoder(base: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel  # noqa: PLC0415 - optional

    from indexer.train import crossencoder  # noqa: PLC0415 - needs torch

    crossencoder.save(tmp_path / "cross", *crossencoder.start(str(base)))
    for width, layers in ((64, 2), (32, 3)):
        folder = shutil.copytree(base, tmp_path / f"bert-{width}")
        config = BertConfig(
            vocab_size=133, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
        encoder = export_encoder(
            folder, tmp_path / f"{width}", calibration=TEXTS, max_length=32, precision="fp32"
        ).folder
        told = rf"cross was not trained over the encoder in .*{width}"
        with pytest.raises(ModelError, match=told):
            export_token_reranker(
                tmp_path / "cross", encoder, tmp_path / "out", calibration=PAIRS, precision="fp32"
            )
    encoder = export_encoder(base, tmp_path / "own", calibration=TEXTS, max_length=32).folder
    export_token_reranker(
        tmp_path / "cross", encoder, tmp_path / "out", calibration=PAIRS, precision="fp32"
    )


@needs_torch
@pytest.mark.parametrize("kind", ["Roberta", "MPNet"])
def test_positions_that_are_not_read_do_not_count(base: Path, tmp_path: Path, kind: str) -> None:
    import transformers  # noqa: PLC0415 - optional

    folder = shutil.copytree(base, tmp_path / kind)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=133, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    options: dict[str, Any] = {"calibration": TEXTS, "precision": "fp32"}
    with pytest.raises(ModelError, match="up to 32, as many tokens as the base can read"):
        export_encoder(folder, tmp_path / "out", max_length=48, **options)
    export_encoder(folder, tmp_path / "out", max_length=32, **options)


def test_a_calibration_line_without_its_tab_is_named(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("mug\tred mug\n\ntent\tgreen\u2028tent\nkettle\n", encoding="utf-8")
    command = ["export", "reranker", "any", "--out", str(tmp_path / "out")]
    with pytest.raises(CatalogError, match=r"pairs\.tsv, line 4 lacks its tab"):
        CliRunner().invoke(app, [*command, "--calibration", str(pairs)], catch_exceptions=False)


def test_too_few_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 distinct calibration texts are too few"):
        export_encoder("any", tmp_path / "out", calibration=["kettle", "tent", "tent"])


def test_a_folder_that_holds_something_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        export_encoder("any", tmp_path, calibration=[])
    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        export_reranker("any", tmp_path, calibration=[])
    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        export_token_reranker(tmp_path, tmp_path, tmp_path, calibration=[])


def test_without_torch_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None in `sys.modules` is how Python itself marks a module as not to be found."""
    for name in ("torch", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'daogou\[train\]'"):
        export_encoder("any", tmp_path / "out", calibration=TEXTS)
