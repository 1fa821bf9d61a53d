from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import SnapshotDamagedError, SnapshotError, SnapshotSchemaError
from engine.protocols import LexicalRetriever
from engine.retrieval.bag import terms_of
from engine.retrieval.lexical import LexicalBuilder, LexicalIndex
from engine.types import Product, RowSet
from tests.engine.contracts_lexical import (
    SHELF,
    Build,
    LexicalContract,
    assert_collected,
    reference,
    same,
)


def id_rank(products: Sequence[Product]) -> NDArray[np.int32]:
    return np.argsort(np.argsort([product.id for product in products])).astype(np.int32)


def write(folder: Path, products: Sequence[Product]) -> None:
    builder = LexicalBuilder(folder)
    for row, product in enumerate(products):
        builder.add(row, terms_of(product))
    builder.finish()


def built(folder: Path, products: Sequence[Product]) -> LexicalIndex:
    write(folder, products)
    return LexicalIndex.open(folder, id_rank(products))


def ids(index: LexicalRetriever, products: Sequence[Product], query: str, depth: int) -> list[str]:
    [ranking] = index.search([query], depth)
    return [products[row].id for row in ranking.rows]


class TestLexicalIndex(LexicalContract):
    @pytest.fixture
    def build(self, tmp_path: Path) -> Build:
        folders = (tmp_path / str(number) for number in count())
        return lambda products: built(next(folders), products)


# ---- which product is first


def test_title_outweighs_the_rest(tmp_path: Path) -> None:
    products = [
        Product("body", "A thing of note", description="Garden hose for the lawn and the yard"),
        Product("title", "Garden hose", description="A thing of note for the lawn and the yard"),
    ]
    index = built(tmp_path, products)
    assert ids(index, products, "garden hose", 2) == ["title", "body"]


@pytest.mark.parametrize(
    ("query", "product"),
    [
        ("acme", Product("x", "Thing", brand="Acme")),
        ("teal", Product("x", "Thing", color="Teal")),
        ("kitchen", Product("x", "Thing", category=("Home", "Kitchen"))),
        ("washable", Product("x", "Thing", bullet_points=("one", "machine washable"))),
        ("walnut", Product("x", "Thing", description="solid walnut")),
        ("AB-1234", Product("x", "Thing", sku="AB1234")),
        ("0012502615620", Product("x", "Thing", gtin="0012502615620")),
        ("cotton", Product("x", "Thing", attributes={"material": ["wool", "cotton"]})),
        ("material", Product("x", "Thing", attributes={"material": "wool"})),
        ("waterproof", Product("x", "Thing", attributes={"waterproof": True})),
        ("60 Hz", Product("x", "Thing", attributes={"refresh": "60Hz"})),
        ("42", Product("x", "Thing", attributes={"size": 42})),
    ],
)
def test_every_field_is_searched(tmp_path: Path, query: str, product: Product) -> None:
    products = [Product("a", "Another"), product, Product("z", "Thing")]
    assert ids(built(tmp_path, products), products, query, 1) == ["x"]


def test_a_flag_that_is_off_says_nothing(tmp_path: Path) -> None:
    products = [Product("a", "Watch", attributes={"waterproof": False})]
    assert ids(built(tmp_path, products), products, "waterproof", 1) == []


def test_function_words_count_only_alone(tmp_path: Path) -> None:
    products = [Product("a", "It, a novel"), Product("b", "Cable for the car with you")]
    index = built(tmp_path, products)
    assert ids(index, products, "it", 2) == ["a"]
    assert ids(index, products, "novel for you", 2) == ["a"]


def test_a_very_long_query_keeps_its_rarest_terms(tmp_path: Path) -> None:
    common = " ".join(f"common{first}{second}" for first in "bcdfghjklm" for second in "bcdfghjklm")
    products = [*(Product(f"c{n}", common) for n in range(20)), Product("rare", "Zanzibar lamp")]
    index = built(tmp_path, products)
    assert "rare" in ids(index, products, f"{common} zanzibar {common}", 30)
    assert ids(index, products, " ".join(f"unheard{n}" for n in range(200)), 30) == []


# ---- exactness


WORDS = [f"word{chr(0x61 + n)}" for n in range(16)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LexicalIndex:
    """Some 6,000 products, many alike; some words end early in the catalog."""
    draw = random.Random(7)
    products = []
    for row in range(6_000):
        vocabulary = WORDS[: 4 + (row < 900) * 4 + (row < 3_000) * 8]
        terms = draw.choices(vocabulary, k=draw.randint(1, 9))
        products.append(Product(f"{draw.random():.12f}", " ".join(terms)))
    return built(tmp_path_factory.mktemp("shop") / "lexical", products)


queries = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@given(
    query=queries,
    share=st.sampled_from([0.0002, 0.002, 0.02, 0.2, 0.9, 1.0]),
    seed=st.integers(0, 10_000),
    depth=st.integers(1, 400),
)
@settings(max_examples=150, deadline=None)
def test_filtered_is_unfiltered_without_the_rest(
    shop: LexicalIndex, query: str, share: float, seed: int, depth: int
) -> None:
    allowed = RowSet(np.random.default_rng(seed).random(6_000) < share)
    [filtered] = shop.search([query], depth, allowed)
    same(filtered, reference(shop, query, 6_000, allowed).top(depth))


@given(query=queries, depth=st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_a_deeper_search_only_adds(shop: LexicalIndex, query: str, depth: int) -> None:
    [shallow], [whole] = shop.search([query], depth), shop.search([query], 6_000)
    same(shallow, whole.top(depth))
    order = np.lexsort((shop._id_rank[whole.rows], -whole.scores))
    assert order.tolist() == list(range(len(whole)))
    assert len(set(whole.rows.tolist())) == len(whole)


@given(query=queries, rows=st.lists(st.integers(0, 5_999), max_size=50))
@settings(max_examples=100, deadline=None)
def test_score_is_the_score_of_search(shop: LexicalIndex, query: str, rows: list[int]) -> None:
    [whole] = shop.search([query], 6_000)
    expected = np.zeros(6_000, dtype=np.float32)
    expected[whole.rows] = whole.scores
    asked = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(shop.score(query, asked), expected[asked])


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> LexicalIndex:
    """Some 6,000 products of words of which each is rarer than the one before.

    The best scores of those that a thousand have are kept.
    """
    draw = random.Random(11)
    products = []
    for row in range(6_000):
        words = [word for n, word in enumerate(WORDS) if draw.random() < 0.7**n]
        body = [word for word in words if draw.random() < 0.5]
        products.append(Product(f"p{row}", " ".join(words) or WORDS[0], description=" ".join(body)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.retrieval.lexical._OFTEN", 1_000)
        return built(tmp_path_factory.mktemp("skewed") / "lexical", products)


@given(
    query=queries,
    depth=st.sampled_from([0, 1, 20, 200, 6_000]),
    most=st.sampled_from([1, 50, 500, 6_000]),
    share=st.sampled_from([0.0, 0.5, 0.9]),
    allowed=st.sampled_from([None, 0.002, 0.3]),
    looked_up=st.sampled_from([0, 2]),
)
@settings(max_examples=300, deadline=None)
def test_products_without_an_essential_word_are_spared_and_none_is_missed(
    skewed: LexicalIndex,
    *,
    query: str,
    depth: int,
    most: int,
    share: float,
    allowed: float | None,
    looked_up: int,
) -> None:
    passing = None
    if allowed is not None:
        passing = RowSet(np.random.default_rng(5).random(6_000) < allowed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.retrieval.lexical._MANY", 0)
        patched.setattr("engine.retrieval.lexical._PROBED", 10)
        patched.setattr("engine.retrieval.essential._LOOKED_UP", looked_up)
        found = skewed.search_and_collect(query, depth, passing, most=most, share=share)
    assert_collected(skewed, query, depth, passing, found, most=most, share=share)


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize("seed", range(8))
def test_what_was_spared_is_looked_for_where_a_filter_lets_it_in(
    skewed: LexicalIndex, seed: int
) -> None:
    """Few are collected and fewer allowed, so that both bounds of what was not decide in turn."""
    draw = random.Random(seed)
    for _ in range(60):
        query = " ".join(draw.sample(WORDS, 4))
        depth, most = draw.randint(2, 20), draw.choice([50, 200, 500])
        allowed = RowSet(np.random.default_rng(draw.getrandbits(32)).random(6_000) < 0.04)
        found = skewed.search_and_collect(query, depth, allowed, most=most, share=0.5)
        assert_collected(skewed, query, depth, allowed, found, most=most, share=0.5)


@pytest.mark.usefixtures("sparing")
def test_the_best_score_may_be_of_a_product_without_the_rarest_word(tmp_path: Path) -> None:
    products = [Product("long", "thing", description="rare " + "filling words " * 200)]
    products += [Product(f"short{n}", "lamp" if n < 5 else "desk") for n in range(11)]
    index = built(tmp_path, products)
    [best] = index.search(["rare lamp"], 1)
    assert products[best.rows[0]].title == "lamp"
    assert index.best_score("rare lamp") == best.scores[0]


def test_looking_for_what_counts_spares_products(
    monkeypatch: pytest.MonkeyPatch, skewed: LexicalIndex
) -> None:
    """And what is spared need not be looked for later."""
    monkeypatch.setattr("engine.retrieval.lexical._MANY", 0)
    query = " ".join([WORDS[0], WORDS[1], WORDS[12], WORDS[13]])
    found = skewed.search_and_collect(query, 20, None, most=6_000, share=0.5)
    [everything] = skewed.search([query], 6_000)
    assert 20 < len(found.products) < len(everything) / 10
    monkeypatch.setattr(LexicalIndex, "_search", None)  # nothing was looked for twice
    again = skewed.search_and_collect(query, 20, None, most=6_000, share=0.5)
    same(again.best, everything.top(20))


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_query_breaks_it(shop: LexicalIndex, query: str) -> None:
    [ranking] = shop.search([query], 10)
    assert len(ranking) <= 10


def test_scores_are_bm25(tmp_path: Path) -> None:
    """Guards the formula that the fingerprint names, should the library change it."""
    products = [Product("a", "lamp"), Product("b", "desk"), Product("c", "desk")]
    [ranking] = built(tmp_path, products).search(["lamp"], 1)
    idf = np.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    frequency = 5  # a title counts five times; every length is the mean length
    expected = idf * frequency * (1.2 + 1) / (frequency + 1.2)
    assert ranking.scores[0] == pytest.approx(expected, rel=1e-5)


def test_the_same_catalog_gives_the_same_ranking(tmp_path: Path) -> None:
    one, other = built(tmp_path / "1", SHELF), built(tmp_path / "2", SHELF)
    for query in ("frying pan for dog", "black bowl", "12in"):
        same(one.search([query], 6)[0], other.search([query], 6)[0])


def test_threads_get_what_one_gets(shop: LexicalIndex) -> None:
    asked = [" ".join(WORDS[n : n + 3]) for n in range(12)]
    expected = shop.search(asked, 50)
    wrong: list[int] = []

    def ask() -> None:
        for number, ranking in enumerate(shop.search(asked, 50)):
            if ranking.rows.tolist() != expected[number].rows.tolist():
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- files


def test_no_products(tmp_path: Path) -> None:
    index = built(tmp_path, [])
    assert len(index.search(["lamp"], 5)[0]) == 0


def test_searching_leaves_every_file_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, SHELF)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    LexicalIndex.open(tmp_path, id_rank(SHELF)).search(["dog"], 5)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not [name for name in before if name.endswith(".lock")]


def test_nothing_is_left_beside_the_index_or_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "index", SHELF)
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    monkeypatch.chdir(tmp_path)
    index = LexicalIndex.open(Path("index"), id_rank(SHELF))
    assert list(aside.iterdir()) == []
    assert ids(index, SHELF, "bluetooth headphones", 1) == ["p4"]
    assert index.score("dog", np.array([3]))[0] > 0


def test_no_room_for_temporary_files_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, SHELF)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SnapshotError, match="TMPDIR") as caught:
        LexicalIndex.open(tmp_path, id_rank(SHELF))
    assert caught.type is SnapshotError


def test_lock_files_of_earlier_versions_are_no_hindrance(tmp_path: Path) -> None:
    write(tmp_path, SHELF)
    (tmp_path / ".tantivy-meta.lock").touch()
    assert ids(LexicalIndex.open(tmp_path, id_rank(SHELF)), SHELF, "headphones", 1) == ["p4"]


_OPEN = """
import os, sys
from pathlib import Path
import numpy as np
from engine.errors import SnapshotError
from engine.retrieval.lexical import LexicalIndex
if os.getuid() == 0:  # root may do everything: be nobody
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
folder = Path(sys.argv[1])
try:
    (folder / "probe").touch()
    sys.exit("the folder can be written to")
except PermissionError:
    pass
try:
    index = LexicalIndex.open(folder, np.arange(6, dtype=np.int32))
    print(index.search(["headphones"], 1)[0].rows.tolist())
except SnapshotError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def locked() -> Iterator[Path]:
    """An index in a folder that can be read, but not written to, by who does not own it."""
    with tempfile.TemporaryDirectory() as parent:  # pytest's own folders are closed to others
        folder = Path(parent) / "lexical"
        write(folder, SHELF)
        Path(parent).chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def opened_without_rights(folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", _OPEN, str(folder)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.stderr == ""
    return answer.stdout.strip()


def test_a_store_that_may_only_be_read_is_served(locked: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in locked.iterdir()}
    assert opened_without_rights(locked) == "[2]"
    assert {path.name: path.stat().st_mtime_ns for path in locked.iterdir()} == before


@pytest.mark.parametrize("suffix", [".idx", ".json"])
def test_a_file_that_may_not_be_read_is_no_damage(locked: Path, suffix: str) -> None:
    for path in locked.glob(f"*{suffix}"):
        path.chmod(0)
    answer = opened_without_rights(locked)
    assert answer.startswith("SnapshotError ")
    assert "cannot be read" in answer
    assert "Permission denied" in answer


def test_the_best_that_may_not_be_read_are_no_damage(locked: Path) -> None:
    """They are read only where some are kept."""
    about = locked / "lexical.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"best": {"dog": 1.0}}))
    (locked / "best.npy").chmod(0)
    answer = opened_without_rights(locked)
    assert answer.startswith("SnapshotError ")
    assert "Permission denied" in answer


def test_files_are_readable_alike(tmp_path: Path) -> None:
    write(tmp_path / "index", SHELF)
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "index").iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_text_that_cannot_be_encoded_is_indexed(tmp_path: Path) -> None:
    products = [Product("a", "lamp \ud800 shade", attributes={"\udfff": "\x00"})]
    assert ids(built(tmp_path, products), products, "shade", 1) == ["a"]


@pytest.mark.parametrize("name", ["lexical.json", "meta.json"])
def test_missing_file_is_damage(tmp_path: Path, name: str) -> None:
    write(tmp_path, SHELF)
    (tmp_path / name).unlink()
    with pytest.raises(SnapshotDamagedError, match=r"not a keyword index.*index the catalog again"):
        LexicalIndex.open(tmp_path, id_rank(SHELF))


@pytest.mark.parametrize("suffix", [".term", ".idx", ".fast", ".fieldnorm"])
def test_truncated_file_is_damage(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, SHELF)
    [path] = tmp_path.glob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SnapshotDamagedError):
        LexicalIndex.open(tmp_path, id_rank(SHELF))


@pytest.mark.parametrize("kept", [1, [["dog"]], {"dog": "much"}, {"dog": None}])
def test_best_scores_that_are_none_are_damage(tmp_path: Path, kept: object) -> None:
    write(tmp_path, SHELF)
    about = tmp_path / "lexical.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"best": kept}))
    with pytest.raises(SnapshotDamagedError):
        LexicalIndex.open(tmp_path, id_rank(SHELF))


@pytest.mark.parametrize("often", [1, 2, 100])
def test_the_best_score_of_a_word_is_the_same_kept_or_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, often: int
) -> None:
    monkeypatch.setattr("engine.retrieval.lexical._OFTEN", often)
    monkeypatch.setattr("engine.retrieval.lexical._KEPT", 1)
    index = built(tmp_path, SHELF)
    kept = json.loads((tmp_path / "lexical.json").read_text())["best"]
    shared = "dog" in kept, "black" in kept  # three products have one, one has the other
    assert shared == (often < 100, often < 2)
    for word in ("dog", "dogs", "black", "12in", "pan", "nothing", "the", "!!", "dog bowl"):
        [best] = index.search([word], 1)
        assert index.best_score(word) == (best.scores[0] if len(best) else 0)


@pytest.mark.parametrize("often", [1, 50, 10_000])
def test_typical_products_are_among_the_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, often: int
) -> None:
    """Kept, looked for among all, or looked for where frequent words are spared."""
    monkeypatch.setattr("engine.retrieval.lexical._OFTEN", often)
    monkeypatch.setattr("engine.retrieval.lexical._KEPT", 20)
    draw = random.Random(5)
    texts = [" ".join(draw.choices(WORDS[:6], k=draw.randint(1, 9))) for _ in range(400)]
    texts += [f"{text} {WORDS[7]}" for text in texts[:60]]
    products = [Product(f"p{row}", text) for row, text in enumerate(texts)]
    index = built(tmp_path, products)
    queries = (WORDS[0], f"{WORDS[7]} {WORDS[1]}", "nothing of the kind", "")
    for many in (0, 10_000):
        monkeypatch.setattr("engine.retrieval.lexical._MANY", many)
        monkeypatch.setattr("engine.retrieval.lexical._PROBED", 10)
        for query in queries:
            rows = index.typical(query, 15)
            [best] = index.search([query], 15)
            assert rows.dtype == np.int64
            assert len(set(rows.tolist())) == len(best)
            assert index.score(query, rows).tolist() == best.scores.tolist()


def test_the_best_that_are_gone_are_damage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("engine.retrieval.lexical._OFTEN", 1)
    monkeypatch.setattr("engine.retrieval.lexical._KEPT", 1)
    write(tmp_path, SHELF)
    (tmp_path / "best.npy").unlink()
    with pytest.raises(SnapshotDamagedError, match=r"best\.npy"):
        LexicalIndex.open(tmp_path, id_rank(SHELF))


def test_an_index_of_before_keeps_no_best_and_looks_for_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("engine.retrieval.lexical._OFTEN", 1)
    monkeypatch.setattr("engine.retrieval.lexical._KEPT", 1)
    write(tmp_path, SHELF)
    about = tmp_path / "lexical.json"
    values = json.loads(about.read_text())
    assert values.pop("best")
    about.write_text(json.dumps(values))
    (tmp_path / "best.npy").unlink()
    index = LexicalIndex.open(tmp_path, id_rank(SHELF))
    [best] = index.search(["dog"], 2)
    assert index.best_score("dog") == best.scores[0]
    assert index.typical("dog", 2).tolist() == best.rows.tolist()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "\udcff"])
def test_foreign_description_is_damage(tmp_path: Path, text: str) -> None:
    write(tmp_path, SHELF)
    (tmp_path / "lexical.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SnapshotDamagedError):
        LexicalIndex.open(tmp_path, id_rank(SHELF))


@pytest.mark.parametrize("place", ["", "absent", "file"])
def test_no_index_is_damage(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SnapshotDamagedError):
        LexicalIndex.open(tmp_path / place, id_rank(SHELF))


def test_another_number_of_products_is_damage(tmp_path: Path) -> None:
    write(tmp_path, SHELF)
    with pytest.raises(SnapshotDamagedError, match="6 products in the keyword index"):
        LexicalIndex.open(tmp_path, id_rank(SHELF[:-1]))


def test_another_analyzer_names_the_cure(tmp_path: Path) -> None:
    write(tmp_path, SHELF)
    about = tmp_path / "lexical.json"
    values = json.loads(about.read_text())
    about.write_text(json.dumps(values | {"fingerprint": "0" * 64}))
    with pytest.raises(SnapshotSchemaError, match="daogou index"):
        LexicalIndex.open(tmp_path, id_rank(SHELF))


def test_what_a_query_excludes_counts_for_products_that_do_without_it(tmp_path: Path) -> None:
    products = [
        Product(
            "stems", "Wine glasses with long stem", description="A stem to hold, a stem to set"
        ),
        Product("plain", "Wine glasses", description="Set of four"),
        Product("stemless", "Stemless wine glasses", description="Set of four"),
    ]
    index = built(tmp_path, products)
    assert ids(index, products, "wine glasses without stem", 3)[0] == "stemless"
    assert ids(index, products, "wine glasses with stem", 3)[0] == "stems"
    rows = np.array([2, 0, 1, 0])
    assert index.refused("wine glasses without stem", rows).tolist() == [False, True, False, True]
    assert not index.refused("wine glasses", rows).any()
    assert index.refused("wine glasses without stem", rows[:0]).tolist() == []


def test_a_product_is_refused_for_all_that_is_excluded_together(tmp_path: Path) -> None:
    products = [
        Product("soy", "Tortillas with soybean oil"),
        Product("olive", "Tortillas with olive oil"),
        Product("none", "Tortillas", description="No soybean oil. Soybean oil is not for us"),
    ]
    index = built(tmp_path, products)
    query, rows = "tortillas without soybean oil", np.arange(3)
    assert index.refused(query, rows).tolist() == [True, False, False]
    assert index.refused_altered(query, products).tolist() == [True, False, False]
    assert not index.refused_altered("tortillas", products).any()
