"""What ships works out of the box, together and within its size."""

from __future__ import annotations

from pathlib import Path

from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import read_model_info, verify_model
from engine.retrieval.ranking import SHIPPED_RANKING, load_ranking
from engine.search import SearchEngine
from engine.types import Stage
from indexer.build import IndexOptions, index_catalog
from indexer.models import adopt_ranking
from tests.shop import write_catalog


def test_models_are_whole_and_small() -> None:
    verify_model(SHIPPED_ENCODER)
    files = [path for path in SHIPPED_ENCODER.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 48 * 2**20


def test_the_ranking_is_for_the_encoder_beside_it(tmp_path: Path) -> None:
    encoder = read_model_info(SHIPPED_ENCODER, kind="encoder")
    assert load_ranking(SHIPPED_RANKING).info.fitted_on.encoder == encoder.fingerprint
    other = encoder.model_copy(update={"fingerprint": "0" * 64})
    assert adopt_ranking(tmp_path, SHIPPED_RANKING, {"encoder": other}) is None
    assert not (tmp_path / "ranking").exists()


def test_out_of_the_box_what_is_alike_rises(shop_store: Path, tmp_path: Path) -> None:
    """The shipped ranking moves what looks like the best above what only shares a word."""
    index_catalog(write_catalog(tmp_path / "shop.jsonl"), tmp_path / "store", IndexOptions())
    engine, bare = SearchEngine.open(tmp_path / "store"), SearchEngine.open(shop_store)
    assert engine.snapshot.ranking is not None
    assert bare.snapshot.ranking is None
    ranked, plain = (one.search("kettle for coffee", k=50) for one in (engine, bare))
    assert ranked.stage is plain.stage is Stage.FUSED
    assert ranked.hits[0].product.id == plain.hits[0].product.id == "k1"
    assert {hit.product.id for hit in ranked.hits} == {hit.product.id for hit in plain.hits}
    assert [hit.score for hit in ranked.hits] != [hit.score for hit in plain.hits]
    assert ranked.fits is not None
    assert not ranked.nothing_fits
    assert engine.search("asdf qwertz").nothing_fits
