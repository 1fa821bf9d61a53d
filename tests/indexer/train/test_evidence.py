from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from daogou import app
from engine.errors import CatalogError, ModelError, SettingsError, TrainingError
from engine.guide.evidence import (
    INFO_FILE,
    SHIPPED_EVIDENCE,
    EvidenceRanker,
    compute,
    load_evidence,
    save_evidence,
)
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.models.folder import read_model_info
from engine.models.reranker import SHIPPED_RERANKER, load_adapted
from engine.models.tokens import pack
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from indexer.evaluate.consult import cross_validate
from indexer.publish import publish
from indexer.train.evidence import (
    Question,
    _fit,
    _joined,
    best_threshold,
    folds,
    grouped,
    read_all,
    read_questions,
    train_evidence,
)
from indexer.train.evidence_across import reranker_for
from indexer.train.evidence_model import write_evidence

FACTS = {
    "color": "red", "weight": "3 kg", "material": "steel", "warranty": "2 years", "height": "40 cm",
    "battery": "included", "power": "900 W", "origin": "made in Portugal", "lid": "hinged",
    "capacity": "1.7 l", "noise": "40 dB", "cable": "1 m",
}  # fmt: skip


def rows() -> list[dict[str, object]]:
    """Questions on twelve facts of four products, each also asked where its fact is missing."""
    found: list[dict[str, object]] = []
    names = list(FACTS)
    for product in range(4):
        for place, name in enumerate(names):
            others = [names[(place + step) % len(names)] for step in range(1, 4)]
            for known in (True, False):
                shown = [name, *others] if known else others
                found += [
                    {
                        "set": "facts",
                        "qid": f"{product}-{name}-{known}",
                        "question": f"what is the {name} of number {product}?",
                        "product_id": f"P{product}-{place}",
                        "candidate": f"{fact}: {FACTS[fact]}",
                        "label": int(fact == name),
                    }
                    for fact in shown
                ]
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("questions") / "questions.parquet"
    parquet.write_table(pa.Table.from_pylist(rows()), path)
    return path


def question(text: str, product: str = "", pieces: tuple[str, ...] = ("a", "b")) -> Question:
    gains = np.array([1.0, 0.0], np.float32)
    return Question(name="q", product=product, kind="set", text=text, pieces=pieces, gains=gains)


def test_questions_are_read_with_all_that_may_answer(table: Path) -> None:
    questions = read_questions(table)
    assert len(questions) == 96
    assert sum(one.answerable for one in questions) == 48
    first = questions[0]
    assert first.pieces == tuple(sorted(first.pieces))
    assert [piece.startswith("color") for piece in first.pieces] == [
        gain == 1 for gain in first.gains
    ]


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="Parquet"):
        read_questions(tmp_path / "none.parquet")
    parquet.write_table(pa.table({"question": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match="candidate, label"):
        read_questions(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"label": None}, "row 2, field label: None is no label"),
        ({"label": 3}, "row 2, field label: 3 is no label"),
        ({"label": -1}, "row 2, field label: -1 is no label"),
        ({"label": 0.5}, r"row 2, field label: 0\.5 is no label"),
        ({"question": None}, "row 2, field question: empty"),
        ({"candidate": ""}, "row 2, field candidate: empty"),
        ({"product_id": ["P1"]}, "row 2, field product_id: .* is no text"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    tmp_path: Path, cells: dict[str, object], message: str
) -> None:
    good: dict[str, object] = {"question": "how long", "candidate": "2 m", "label": 1}
    if "product_id" in cells:
        good["product_id"] = None
    parquet.write_table(pa.Table.from_pylist([good, good | cells]), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match=rf"a\.parquet, {message}"):
        read_questions(tmp_path / "a.parquet")


def test_labels_that_are_text_and_a_table_without_rows_are_named(tmp_path: Path) -> None:
    columns = {"question": ["a"], "candidate": ["b"], "label": ["1"]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match=r"row 1, field label: '1' is no label\. Write a number"):
        read_questions(tmp_path / "a.parquet")
    parquet.write_table(pa.table(columns).slice(0, 0), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match="holds no question"):
        read_questions(tmp_path / "a.parquet")


def test_cells_that_may_be_empty_and_ids_that_are_numbers_are_read(tmp_path: Path) -> None:
    columns = {
        "set": [None, None, "s"], "qid": [0.0, 0.0, None], "product_id": [7.0, 7.0, None],
        "question": ["a", "a", "b"], "candidate": ["x", "y", "z"], "label": [1.0, 0.0, 0.0],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = [(one.kind, one.name, one.product) for one in read_questions(tmp_path / "a.parquet")]
    assert found == [("", "0", "7"), ("s", "b", "")]


def test_one_question_on_two_products_is_two(tmp_path: Path) -> None:
    columns = {
        "question": ["how long"] * 4, "product_id": ["A", "A", "B", "B"],
        "candidate": ["2 m", "red", "3 m", "blue"], "label": [1, 0, 1, 0],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = [(one.name, one.product, one.pieces) for one in read_questions(tmp_path / "a.parquet")]
    assert found == [("how long", "A", ("2 m", "red")), ("how long", "B", ("3 m", "blue"))]


@pytest.mark.parametrize(
    ("field", "values"), [("question", ["how long", "how wide"]), ("product_id", ["A", "B"])]
)
def test_a_name_of_two_questions_is_refused(tmp_path: Path, field: str, values: list[str]) -> None:
    columns = {
        "set": ["s", "s", "t"], "qid": ["1", "1", "1"], "question": ["how long"] * 3,
        "product_id": ["A"] * 3, "candidate": ["2 m", "red", "x"], "label": [1, 0, 0],
    }  # fmt: skip
    columns[field] = [*values, "of another set"]
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    told = rf"a\.parquet, row 2, field {field}: '{values[1]}', where '{values[0]}' stands above"
    with pytest.raises(CatalogError, match=told):
        read_questions(tmp_path / "a.parquet")


def test_what_belongs_together_is_one_group() -> None:
    groups = grouped(
        [
            question("how long", "A"),
            question("how wide", "A", ("c", "d")),
            question("Wide, how?", "B", ("e", "f")),
            question("how tall", "C", ("g", "h")),
            question("weight", "", ("g", "h")),
            question("color", "", ("i", "j")),
        ]
    )
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4] != groups[0]
    assert groups[5] not in {groups[0], groups[3]}


def test_heads_side_by_side_score_as_their_mean(table: Path) -> None:
    questions = read_questions(table)[:30]
    reads = read_all(questions, load_encoder(SHIPPED_ENCODER, tokens=True))
    info = train_evidence(questions, reads, name="n", encoder="e").info
    places = np.arange(len(questions))
    heads = [_fit(questions, reads, places, info, seed) for seed in (0, 1)]
    alone = [EvidenceRanker(info, _joined([head])).head(reads[0]) for head in heads]
    both = EvidenceRanker(info, _joined(heads)).head(reads[0])
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-4)


def test_training_writes_publishes_and_answers(
    table: Path, tmp_path: Path, shop_store: Path
) -> None:
    run = CliRunner().invoke(
        app, ["train", "evidence", "--questions", str(table), "--out", str(tmp_path / "mine")]
    )
    assert run.exit_code == 0, run.output
    assert (tmp_path / "mine" / "README.md").is_file()
    ranker = load_evidence(tmp_path / "mine")
    assert ranker.info.reranker == read_model_info(SHIPPED_RERANKER, kind="reranker").fingerprint
    reranker = load_adapted(SHIPPED_RERANKER, ranker.adapters)
    encoder = load_encoder(SHIPPED_ENCODER, tokens=True)
    pieces = ["the box is blue", "weight: 5 kg", "made of oak", "battery: none"]
    vectors, tokens = encoder.read_passages(["what is the weight of it?", *pieces])
    across = reranker.score_read("what is the weight of it?", pack(tokens[1:]))
    assert int(np.argmax(across)) == 1
    given = compute("what is the weight of it?", pieces, vectors, tokens, across)
    assert int(np.argmax(ranker.rank(given))) == 1
    assert ranker.parts(given).keys() - ranker.parts(replace(given, across=None)) == {"across"}
    assert ranker.says(ranker.answerable(given))
    store = shutil.copytree(shop_store, tmp_path / "store")
    report = publish(store, evidence=tmp_path / "mine")
    assert any(
        name.startswith("evidence/")
        for name in Snapshot.open(SnapshotStore(store).current()).manifest.files
    )
    assert report.new_bytes > 0


def test_a_ranker_of_another_encoder_is_not_published(
    table: Path, tmp_path: Path, shop_store: Path
) -> None:
    questions = read_questions(table)
    reads = read_all(questions, load_encoder(SHIPPED_ENCODER, tokens=True))
    trained = train_evidence(questions, reads, name="n", encoder="another")
    (tmp_path / "other").mkdir()
    save_evidence(tmp_path / "other", trained.info, trained.weights)
    store = shutil.copytree(shop_store, tmp_path / "store")
    with pytest.raises(ModelError, match="another encoder"):
        publish(store, evidence=tmp_path / "other")


def test_what_adapts_a_reranker_that_is_not_there_is_not_published(
    tmp_path: Path, shop_store: Path
) -> None:
    folder = shutil.copytree(SHIPPED_EVIDENCE, tmp_path / "other")
    info = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    (folder / INFO_FILE).write_text(json.dumps(info | {"reranker": "another"}), encoding="utf-8")
    store = shutil.copytree(shop_store, tmp_path / "store")
    with pytest.raises(ModelError, match="adapts a reranker"):
        publish(store, evidence=folder)


def test_a_reranker_is_adapted_beside_the_encoder_it_reads() -> None:
    fingerprint = load_encoder(SHIPPED_ENCODER).fingerprint
    assert reranker_for(fingerprint, None) == SHIPPED_RERANKER
    assert reranker_for("another", None) is None
    with pytest.raises(ModelError, match="does not read"):
        reranker_for("another", SHIPPED_RERANKER)


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(TrainingError, match="At least 10"):
        train_evidence([question("a")], [], name="n", encoder="e")


def several(count: int, answering: int) -> list[Question]:
    """Questions on so many products, ten of each; the first products' have a piece that answers."""
    return [
        replace(
            question(f"w{product}x{place}", f"P{product}", (f"a{product}x{place}", "b")),
            gains=np.array([float(product < answering and place % 2), 0.0], np.float32),
        )
        for product in range(count)
        for place in range(10)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_no_fold_is_empty_and_every_one_has_something_to_learn_from(seed: int) -> None:
    asked = several(6, answering=2)
    parts = list(folds(asked, 5, seed))
    assert sorted(np.concatenate([outside for _, outside in parts])) == list(range(60))
    for inside, outside in parts:
        assert len(outside)
        assert any(asked[place].answerable for place in inside)
        products = [{asked[place].product for place in side} for side in (inside, outside)]
        assert not products[0] & products[1]


def test_folds_that_can_be_drawn_by_chance_are() -> None:
    """Figures that were measured stay comparable."""
    asked = several(40, answering=40)
    groups = grouped(asked)
    drawn = np.random.default_rng(0).integers(0, 5, 40)[groups]
    for fold, (_, outside) in enumerate(folds(asked, 5, 0)):
        assert outside.tolist() == np.flatnonzero(drawn == fold).tolist()


@pytest.mark.parametrize(("count", "answering"), [(2, 2), (4, 1)])
def test_too_few_groups_are_refused(count: int, answering: int) -> None:
    asked = several(count, answering) * 2
    told = f"make up {count} groups .*, {answering} of them with .* at least 3 groups are needed"
    with pytest.raises(TrainingError, match=told):
        train_evidence(asked, [], name="n", encoder="e")
    with pytest.raises(TrainingError, match=told.replace("3", "5")):
        cross_validate(asked, [], encoder="e")


def test_folds_that_leave_too_little_are_refused_before_any_training() -> None:
    with pytest.raises(TrainingError, match=r"make up 2 groups .* at least 3 groups are needed"):
        cross_validate(several(3, 3), [], encoder="e", count=3)


def test_a_folder_that_holds_something_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        write_evidence(tmp_path / "none.parquet", tmp_path, encoder=SHIPPED_ENCODER)
    former = shutil.copytree(SHIPPED_EVIDENCE, tmp_path / "former")
    with pytest.raises(CatalogError, match=r"none\.parquet"):  # what it read next
        write_evidence(tmp_path / "none.parquet", former, encoder=SHIPPED_ENCODER)


def test_damaged_rankers_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="daogou train evidence"):
        load_evidence(tmp_path)
    (tmp_path / INFO_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="daogou train evidence"):
        load_evidence(tmp_path)


def test_the_threshold_parts_both_answers() -> None:
    chance = np.array([0.1, 0.2, 0.6, 0.7, 0.8, 0.9])
    truth = np.array([False, False, False, True, True, True])
    assert 0.6 < best_threshold(chance, truth) <= 0.7


def test_a_set_without_an_answer_has_no_ranking_to_measure(tmp_path: Path) -> None:
    some = rows()[:28] + [row | {"set": "none", "label": 0} for row in rows()[:14]]
    parquet.write_table(pa.Table.from_pylist(some), tmp_path / "two.parquet")
    command = ["evaluate", "consult", "--questions", str(tmp_path / "two.parquet")]
    command += ["--model", str(SHIPPED_EVIDENCE)]
    run = CliRunner().invoke(app, [*command, "--json"])
    assert run.exit_code == 0, run.output
    sets = json.loads(run.stdout)["sets"]
    assert (sets["none"]["questions"], sets["none"]["answerable"]) == (4, 0)
    assert sets["none"]["methods"] == {}
    assert sets["none"]["p"] is None
    assert 0 <= sets["none"]["f1_not_answerable"] <= 1
    assert sets["facts"]["methods"]["daogou"]["p@1"]["mean"] > 0
    assert "none" in CliRunner().invoke(app, command).output


@pytest.mark.parametrize("part", ["encoder", "reranker"])
def test_a_ranker_is_not_measured_beside_other_models(
    table: Path, tmp_path: Path, part: str
) -> None:
    folder = shutil.copytree(SHIPPED_EVIDENCE, tmp_path / "other")
    info = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    (folder / INFO_FILE).write_text(json.dumps(info | {part: "another"}), encoding="utf-8")
    command = ["evaluate", "consult", "--questions", str(table), "--model", str(folder)]
    with pytest.raises(ModelError, match=rf"another {part}: name that one with --{part}"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_evaluation_in_folds(table: Path) -> None:
    run = CliRunner().invoke(
        app, ["evaluate", "consult", "--questions", str(table), "--folds", "2", "--json",
              "--untuned", str(SHIPPED_ENCODER)]
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    facts = json.loads(run.stdout)["sets"]["facts"]
    assert (facts["questions"], facts["answerable"]) == (96, 48)
    assert facts["methods"]["daogou"]["p@1"]["mean"] > 0.8
    cosine, untuned = facts["methods"]["cosine"], facts["methods"]["cosine, untuned encoder"]
    assert cosine["p@1"]["mean"] == pytest.approx(untuned["p@1"]["mean"], abs=0.05)
    assert facts["f1_answerable"] > facts["f1_answerable_if_always_said"]
    shown = CliRunner().invoke(
        app, ["evaluate", "consult", "--questions", str(table), "--model", str(SHIPPED_EVIDENCE)]
    )
    assert "Which piece answers" in shown.output
