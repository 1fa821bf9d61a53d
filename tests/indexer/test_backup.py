from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from engine.checksums import FileEntry
from engine.errors import (
    SnapshotDamagedError,
    SnapshotError,
    SnapshotNotFoundError,
    SnapshotSchemaError,
    StoreLockedError,
)
from engine.manifest import CHECKSUM, MANIFEST, Manifest, read_manifest, write_manifest
from engine.search import SearchEngine
from engine.store import SnapshotStore
from indexer import backup
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


def test_files_beside_an_export_stay_as_they_are(shop_store: Path, tmp_path: Path) -> None:
    mine = tmp_path / "shop.tar.part"
    mine.write_text("mine", encoding="utf-8")
    export_snapshot(shop_store, tmp_path / "shop.tar")
    assert mine.read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "shop.tar").stat().st_mode == mine.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.tar", "shop.tar.part"]


def test_two_exports_to_one_name_are_both_whole(
    exported: Path, shop_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shop.tar"
    write = backup._write

    def overtaken(file: BinaryIO, folder: Path, manifest: Manifest) -> None:
        monkeypatch.setattr(backup, "_write", write)
        file.write(b"begun")
        export_snapshot(shop_store, out)
        assert out.read_bytes() == exported.read_bytes()
        file.seek(0)
        write(file, folder, manifest)

    monkeypatch.setattr(backup, "_write", overtaken)
    export_snapshot(shop_store, out)
    assert out.read_bytes() == exported.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


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


def members_of(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as archive:
        files = [(one, archive.extractfile(one)) for one in archive.getmembers()]
        return [(one, file.read()) for one, file in files if file is not None]


def archive_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return path


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = len(data), kind, "/etc/passwd"
    return made


def assert_refused(path: Path, store: Path, said: str) -> None:
    with pytest.raises(SnapshotDamagedError, match=said) as refused:
        import_snapshot(path, store)
    assert str(path) in str(refused.value)
    assert "Export it again, and copy it whole" in str(refused.value)
    assert is_untouched(store)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda _: [(member("readme.txt", b"hello"), b"hello")], "does not begin with manifest"),
        (lambda whole: [*whole, (member("../../escaped", b"x"), b"x")], "not what the manifest"),
        (lambda whole: [*whole, (member("/tmp/escaped", b"x"), b"x")], "not what the manifest"),
        (lambda whole: [*whole, (member("models", kind=tarfile.DIRTYPE), b"")], "not what the"),
        (lambda whole: [*whole, whole[-1]], "not what the manifest"),
        (lambda whole: whole[:-1], "cut short: 1 files are missing, vectors.npy"),
    ],
    ids=["foreign", "climbing out", "absolute", "a folder", "twice", "one less"],
)
def test_members_that_the_manifest_does_not_list_are_refused(
    exported: Path,
    tmp_path: Path,
    harm: Callable[
        [list[tuple[tarfile.TarInfo, bytes]]],
        list[tuple[tarfile.TarInfo, bytes]],
    ],
    said: str,
) -> None:
    bad = archive_of(tmp_path / "bad.tar", harm(members_of(exported)))
    assert_refused(bad, tmp_path / "store", said)
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    ids=["symbolic link", "hard link", "character device", "block device", "pipe"],
)
def test_links_and_devices_are_refused(
    exported: Path, tmp_path: Path, kind: bytes, place: int
) -> None:
    members = members_of(exported)
    members[place] = member(members[place][0].name, kind=kind), b""
    assert_refused(
        archive_of(tmp_path / "bad.tar", members), tmp_path / "store", "is no file|not what the"
    )


@pytest.mark.parametrize(
    "name",
    [
        "/tmp/escaped",
        "../escaped",
        "models/../../escaped",
        "models",
        "vectors.npy/x",
        "a\\b",
        MANIFEST,
    ],
)
def test_a_manifest_that_lists_what_is_no_file_of_a_snapshot_is_refused(
    exported: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")

    def listing(manifest: Manifest) -> dict[str, object]:
        return {"files": manifest.files | {name: FileEntry.of(tmp_path / "file")}}

    bad = forged(exported, tmp_path, listing, [(member(name, b"x"), b"x")])
    assert_refused(bad, tmp_path / "store", "which is no file of a snapshot")
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()


def forged(
    exported: Path,
    folder: Path,
    change: Callable[[Manifest], dict[str, object]],
    more: list[tuple[tarfile.TarInfo, bytes]],
) -> Path:
    """An archive with another manifest, whose checksum is right."""
    files = members_of(exported)[2:]
    for each, data in members_of(exported)[:2]:
        (folder / each.name).write_bytes(data)
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update=change(manifest)))
    first = [(folder / name).read_bytes() for name in (MANIFEST, CHECKSUM)]
    named = zip((MANIFEST, CHECKSUM), first, strict=True)
    members = [*((member(name, data), data) for name, data in named), *more, *files]
    return archive_of(folder / "forged.tar", members)


def test_what_cannot_be_searched_is_refused_though_every_byte_is_as_written(
    exported: Path, tmp_path: Path
) -> None:
    bad = forged(exported, tmp_path, lambda _: {"models": {}}, [])
    assert_refused(bad, tmp_path / "store", "cannot be searched")


def header(kind: bytes, size: int) -> bytes:
    """A header as tarfile would not write it: of any size, and with the right checksum."""
    made = bytearray(member("x", kind=kind).tobuf(tarfile.USTAR_FORMAT))
    made[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 256**11).to_bytes(11, "big")
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize(
    ("content", "size"),
    [(b"", -512), (b"", 2**62), (b"15 size=banana\n", 15), (b"99999999999999999999 a=1\n", 25)],
    ids=["before itself", "of exabytes", "no number", "longer than it is"],
)
def test_headers_that_make_no_sense_are_refused(
    exported: Path, tmp_path: Path, kind: bytes, content: bytes, size: int
) -> None:
    bad, whole = tmp_path / "bad.tar", exported.read_bytes()
    place = members_of(exported)[2][0].offset
    for at in (0, place):
        strange = header(kind, size) + content.ljust(512 if content else 0, b"\0")
        bad.write_bytes(whole[:at] + strange + whole[at:])
        assert_refused(bad, tmp_path / "store", "bad.tar")


@pytest.mark.parametrize("content", [b"", b"not a tar", bytes(2048), b"\x1f\x8b" + bytes(998)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tar").write_bytes(content)
    assert_refused(tmp_path / "bad.tar", tmp_path / "store", "is damaged|is no snapshot")


def test_a_file_that_the_disk_does_not_give_is_named_and_not_the_store(tmp_path: Path) -> None:
    unreadable = Path("/proc/self/mem")  # opens, and fails to be read at its beginning
    if not unreadable.exists():
        pytest.skip("no such file on this system")
    with pytest.raises(SnapshotError, match=r"/proc/self/mem cannot be read \(Input/output error"):
        import_snapshot(unreadable, tmp_path / "store")
    assert is_untouched(tmp_path / "store")


def test_an_export_to_a_disk_that_is_full_leaves_what_was_there(
    small_disk: Path, shop_store: Path
) -> None:
    out = small_disk / "shop.tar"
    out.write_bytes(b"an older one")
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - (1 << 20)))
    with pytest.raises(SnapshotError, match=r"shop\.tar cannot be written: .*No space left.*Free"):
        export_snapshot(shop_store, out, force=True)
    assert out.read_bytes() == b"an older one"
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "shop.tar"]


def test_an_export_to_a_disk_that_may_only_be_read_says_so(
    small_disk: Path, shop_store: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SnapshotError, match=r"Read-only file system.*name another file"):
        export_snapshot(shop_store, small_disk / "shop.tar")


def test_a_folder_is_no_file_to_export_to(shop_store: Path, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"is a folder\. Name a file in it"):
        export_snapshot(shop_store, tmp_path, force=True)
    assert not list(tmp_path.iterdir())


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
