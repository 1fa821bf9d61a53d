"""Compiled models, kept between the starts of a process.

Compiling a graph for the CPU takes 0.5 s or more, reading what came of it a third of that, and both
compute the same to the last bit. It is made where a model is first used, for the very CPU, runtime
and options, and lies in the user's cache folder: nothing is lost with it, and whatever is wrong
with it, the graph is compiled again.

KEY.compiled   SHA-256 of what follows, then the model as the runtime writes it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from engine.checksums import sha256_of
from engine.cores import cpu_flags
from engine.errors import ModelError
from engine.models.folder import INFO_FILE, verify_model

_SUFFIX = ".compiled"
_MOST = 8
"""Models that are kept, those used last; 24 MB each."""
_ASIDE, _LEFT = "aside-", 3_600  # of files being written: how they begin, seconds they may take


def place_of(kept: Path | None, graph: Path, identity: Mapping[str, object]) -> Path | None:
    """Where a compiled model is or would be kept; None where it is not to be.

    Args:
        kept: folder of compiled models; None keeps nothing.
        graph: the file that is compiled. What the model says of itself lies beside it; one that
            says nothing is not kept: its checksums are what it is known by.
        identity: all else that decides what the compiled model computes, and how, but the CPU's
            instructions and our own version.
    """
    about = graph.with_name(INFO_FILE)
    if kept is None or not about.is_file():
        return None
    whole = {
        "daogou": version("daogou"),
        "cpu": [platform.machine(), sorted(cpu_flags())],
        "model": sha256_of(about),
        **identity,
    }
    key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]
    return kept / f"{key}{_SUFFIX}"


def load_compiled(path: Path | None) -> bytes | None:
    """What was kept there; None where there is nothing or it is not what was written."""
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    digest, model = content[:size], content[size:]
    if hashlib.sha256(model).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used last
    return model


def save_compiled(path: Path | None, graph: Path, model: bytes) -> None:
    """Keep a model there if that can be done, and no more of the others than is said.

    Not one of a graph whose files are no longer what they were: once they are mended, it would go
    on serving.
    """
    # A damaged model; a disk that is full or read-only, a folder of others.
    with contextlib.suppress(ModelError, OSError):
        if path:
            verify_model(graph.parent)
            _save(path, model)


def _save(path: Path, model: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=_ASIDE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(model).digest())
            file.write(model)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    _forget(path.parent)


def _forget(folder: Path) -> None:
    """Delete the models that were not used for longest, and what killed processes left behind.

    Another process may do the same.
    """
    ages = []
    for path in [*folder.glob(f"*{_SUFFIX}"), *folder.glob(f"{_ASIDE}*")]:
        with contextlib.suppress(OSError):
            ages.append((path.stat().st_mtime, path))
    models = [path for _, path in sorted(ages, reverse=True) if path.suffix == _SUFFIX]
    left = [path for age, path in ages if path.suffix != _SUFFIX and age < time.time() - _LEFT]
    for path in [*models[_MOST:], *left]:
        path.unlink(missing_ok=True)
