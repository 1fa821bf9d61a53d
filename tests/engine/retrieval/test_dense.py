"""Vector search with FAISS, and the file its vectors lie in."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.errors import SnapshotDamagedError
from engine.retrieval.dense import ExactIndex, create_vectors, open_vectors
from tests.engine.contracts_dense import Build, DenseContract, some_vectors


class TestExactIndex(DenseContract):
    @pytest.fixture
    def build(self) -> Build:
        return ExactIndex


# ---- the file


def test_vectors_come_back_as_they_were_written(tmp_path: Path) -> None:
    raw = some_vectors()
    vectors = create_vectors(tmp_path / "vectors.npy", *raw.shape)
    assert not vectors.any()
    vectors[:] = raw
    vectors.flush()
    np.testing.assert_array_equal(open_vectors(tmp_path / "vectors.npy"), raw)
    np.save(tmp_path / "plain.npy", raw)
    written = (tmp_path / "vectors.npy").read_bytes()
    assert written == (tmp_path / "plain.npy").read_bytes()


def test_no_products(tmp_path: Path) -> None:
    create_vectors(tmp_path / "vectors.npy", 0, 16).flush()
    assert open_vectors(tmp_path / "vectors.npy").shape == (0, 16)


@pytest.mark.parametrize("reserves", [True, False])
def test_the_space_is_taken_before_the_first_vector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserves: bool
) -> None:
    if not reserves:  # macOS has no such call
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    create_vectors(tmp_path / "vectors.npy", 10_000, 300)
    stat = (tmp_path / "vectors.npy").stat()
    assert stat.st_size == 10_000 * 300 * 2 + 128
    assert stat.st_blocks * 512 >= stat.st_size  # a sparse file holds fewer


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_reserve_gets_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    create_vectors(tmp_path / "vectors.npy", 10_000, 300)
    stat = (tmp_path / "vectors.npy").stat()
    assert stat.st_blocks * 512 >= stat.st_size > 6_000_000


_FILL = """
import os, resource, sys
from pathlib import Path
from engine.retrieval.dense import create_vectors
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
if sys.argv[2] == "plain":
    vars(os).pop("posix_fallocate", None)
try:
    create_vectors(Path(sys.argv[1]), 10_000, 300)
except OSError as error:
    sys.exit(error.filename)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system limits no file size")
@pytest.mark.parametrize("way", ["reserve", "plain"])
def test_no_room_is_an_error_at_once_that_names_the_file(tmp_path: Path, way: str) -> None:
    path = tmp_path / "vectors.npy"
    command = [sys.executable, "-c", _FILL, str(path), way]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.stderr.strip() == str(path)
    assert answer.returncode == 1  # a signal would have been negative


@pytest.mark.parametrize("content", [b"", b"junk", np.zeros(3).tobytes()])
def test_a_file_without_vectors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vectors.npy").write_bytes(content)
    with pytest.raises(SnapshotDamagedError, match=r"vectors\.npy"):
        open_vectors(tmp_path / "vectors.npy")


def test_vectors_of_another_type_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.zeros((2, 3)))
    with pytest.raises(SnapshotDamagedError, match="float64"):
        open_vectors(tmp_path / "vectors.npy")
