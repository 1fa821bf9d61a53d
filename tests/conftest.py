"""What every test shares: where the public data lies, and that CI skips nothing in silence."""

from __future__ import annotations

import fnmatch
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from indexer.build import IndexOptions, index_catalog
from tests.checkpoints import PAIRS, PASSAGES, save_encoder
from tests.shop import write_catalog

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
ALLOWED_SKIPS = REPOSITORY / "tests" / "allowed_skips.txt"

_unlisted_skips: list[str] = []

if "DAOGOU_MODEL_CACHE" not in os.environ:  # in workers, it is that of who started them
    _models = tempfile.TemporaryDirectory(prefix="daogou-tests-")
    os.environ["DAOGOU_MODEL_CACHE"] = _models.name

if worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
    # One core a worker: with all cores each, threads of two would wait for one another.
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores:
        os.sched_setaffinity(0, {cores[int(worker) % len(cores)]})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets, read in place."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the public data sets are not at {SHARED_DATA}")
    return SHARED_DATA


def _allowed() -> Iterator[str]:
    for line in ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines():
        pattern = line.partition("#")[0].strip()
        if pattern:
            yield pattern


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skips that nobody listed."""
    if report.skipped and not hasattr(report, "wasxfail"):
        listed = any(fnmatch.fnmatch(report.nodeid, pattern) for pattern in _allowed())
        if not listed:
            _unlisted_skips.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, a skip that is not listed in `allowed_skips.txt` fails the run."""
    if os.environ.get("CI") and _unlisted_skips and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips failed the run."""
    if os.environ.get("CI") and _unlisted_skips:
        terminalreporter.section("skips not listed in tests/allowed_skips.txt", red=True)
        for nodeid in _unlisted_skips:
            terminalreporter.line(nodeid)


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop, indexed with the shipped encoder and nothing more. Do not write to it."""
    folder = tmp_path_factory.mktemp("shop")
    bare = IndexOptions(reranker=None, ranking=None)
    index_catalog(write_catalog(folder / "catalog.jsonl"), folder / "store", bare)
    return folder / "store"


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo catalog, indexed as `daogou index` does by default, once for all workers. Do not
    write to it: copies are indexed again in no time, since nothing is to be encoded.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demo"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            made = folder.with_suffix(".made")
            index_catalog(REPOSITORY / "catalogs" / "demo" / "products.jsonl", made / "store")
            made.rename(folder)
    return folder / "store"


@pytest.fixture(scope="session")
def exported_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An encoder, and a cross-encoder of ours that reads what it makes of passages; both int8."""
    pytest.importorskip("torch", reason="exporting needs torch: pip install 'daogou[train]'")
    from indexer.export.recipe import export_encoder, export_token_reranker  # noqa: PLC0415
    from indexer.train import crossencoder  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("pair")
    base = save_encoder(folder / "base")
    crossencoder.save(folder / "cross", *crossencoder.start(str(base)))
    encoder = export_encoder(base, folder / "encoder", calibration=PASSAGES, max_length=64).folder
    reranker = export_token_reranker(
        folder / "cross", encoder, folder / "reranker", calibration=PAIRS, temperature=4.0
    ).folder
    return encoder, reranker
