from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from engine.errors import (
    SnapshotDamagedError,
    SnapshotError,
    SnapshotNotFoundError,
    SnapshotSchemaError,
    StoreLockedError,
)
from engine.manifest import MANIFEST, read_manifest, write_manifest
from engine.search import SearchEngine
from engine.store import SnapshotStore
from indexer.backup import export_snapshot, import_snapshot


@pytest.fixture(scope="module")
def exported(shop_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("backup") / "shop.tar"
    export_snapshot(shop_store, out)
    return out


def found(store: Path) -> list[tuple[str, float]]:
    return [(hit.product.id, hit.score) for hit in SearchEngine.open(store).search("kettle").hits]


def is_untouched(store: Path) -> bool:
    """Whether nothing was published and nothing is left lying about."""
    snapshots = SnapshotStore(store)
    return snapshots.current_id() is None and not list(store.glob("staging/*"))


def test_what_is_imported_answers_as_before(
    exported: Path, shop_store: Path, tmp_path: Path
) -> None:
    manifest = import_snapshot(exported, tmp_path / "other")
    assert found(tmp_path / "other") == found(shop_store)
    assert manifest.parent is None
    assert SnapshotStore(tmp_path / "other").verify() == []
    again = import_snapshot(exported, tmp_path / "other")
    assert again.parent == manifest.id
    assert SnapshotStore(tmp_path / "other").rollback() == manifest.id


def test_an_export_is_the_same_each_time_and_any_tar_reads_it(
    exported: Path, shop_store: Path, tmp_path: Path
) -> None:
    export_snapshot(shop_store, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == exported.read_bytes()
    with tarfile.open(exported) as archive:
        assert archive.getnames()[0] == MANIFEST
        assert "vectors.npy" in archive.getnames()


def test_a_file_that_is_there_is_not_replaced_unasked(shop_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "shop.tar"
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(SnapshotError, match="--force"):
        export_snapshot(shop_store, out)
    assert out.read_text(encoding="utf-8") == "mine"
    export_snapshot(shop_store, out, force=True)
    assert tarfile.is_tarfile(out)
    with pytest.raises(SnapshotNotFoundError):
        export_snapshot(shop_store, tmp_path / "x.tar", "000009-20200101T000000Z")
    with pytest.raises(SnapshotError, match="name another file"):
        export_snapshot(shop_store, tmp_path / "no folder" / "x.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.tar"]


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_snapshot_is_not_exported(shop_store: Path, tmp_path: Path, damage: str) -> None:
    store = Path(shutil.copytree(shop_store, tmp_path / "store"))
    path = SnapshotStore(store).current() / "vectors.npy"
    if damage == "altered":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    else:
        path.unlink()
    with pytest.raises(SnapshotDamagedError, match=damage):
        export_snapshot(store, tmp_path / "out.tar")
    assert not list(tmp_path.glob("out.tar*"))


def flip(path: Path, place: int) -> None:
    """Flip one bit of a byte."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 4]))


def test_a_flipped_bit_anywhere_publishes_nothing(
    exported: Path, shop_store: Path, tmp_path: Path
) -> None:
    bad = Path(shutil.copy(exported, tmp_path / "bad.tar"))
    with tarfile.open(exported) as archive:
        members = archive.getmembers()[::3]
    # In every member's header and content: what lies between is padding.
    places = [one.offset + 20 for one in members] + [one.offset + 130 for one in members]
    places += [one.offset_data + one.size // 2 for one in members if one.size]
    for place in places:
        flip(bad, place)
        with pytest.raises(SnapshotError):
            import_snapshot(bad, tmp_path / "store")
        flip(bad, place)
        assert is_untouched(tmp_path / "store"), place


def test_a_file_cut_short_publishes_nothing(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    for size in (0, 100, 5_000, len(whole) // 2, int(0.99 * len(whole))):
        (tmp_path / "short.tar").write_bytes(whole[:size])
        with pytest.raises(SnapshotDamagedError, match=r"short\.tar"):
            import_snapshot(tmp_path / "short.tar", tmp_path / "store")
        assert is_untouched(tmp_path / "store")


def archive_of(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name == link:
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
            archive.addfile(member, io.BytesIO(data))
    return path


def test_foreign_and_malicious_archives_are_refused(exported: Path, tmp_path: Path) -> None:
    with tarfile.open(exported) as archive:
        members = {
            one.name: file.read()
            for one in archive.getmembers()
            if (file := archive.extractfile(one)) is not None
        }
    cases = {
        "foreign": archive_of(tmp_path / "a.tar", {"readme.txt": b"hello"}),
        "outside": archive_of(tmp_path / "b.tar", {**members, "../../escaped": b"x"}),
        "link": archive_of(tmp_path / "c.tar", members, link="vectors.npy"),
    }
    for path in cases.values():
        with pytest.raises(SnapshotDamagedError):
            import_snapshot(path, tmp_path / "store")
        assert is_untouched(tmp_path / "store")
    assert not list(tmp_path.rglob("escaped"))


def test_a_newer_format_is_named(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    with tarfile.open(exported) as archive:
        archive.extractall(folder, filter="data")
    newer = read_manifest(folder).model_copy(update={"schema_version": 99})
    write_manifest(folder, newer)
    with tarfile.open(tmp_path / "newer.tar", "w") as archive:
        for name in (MANIFEST, "manifest.sha256"):
            archive.add(folder / name, name)
    with pytest.raises(SnapshotSchemaError, match="Install a newer one"):
        import_snapshot(tmp_path / "newer.tar", tmp_path / "store")


def test_where_another_writes_nothing_is_imported(exported: Path, tmp_path: Path) -> None:
    with (
        SnapshotStore(tmp_path / "store").writing(),
        pytest.raises(StoreLockedError),
    ):
        import_snapshot(exported, tmp_path / "store")


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tar", tmp_path):
        with pytest.raises(SnapshotError, match="Name what snapshots export wrote"):
            import_snapshot(path, tmp_path / "store")
