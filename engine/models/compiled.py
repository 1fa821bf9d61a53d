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
from collections.abc import Callable, Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

from engine.checksums import sha256_of
from engine.models.folder import INFO_FILE
from engine.models.openvino import ov

_SUFFIX = ".compiled"
_MOST = 8
"""Models that are kept, those used last; 24 MB each."""
_ASIDE, _LEFT = "aside-", 3_600  # of files being written: how they begin, seconds they may take


def compile_kept(
    graph: Path,
    options: Mapping[str, object],
    read: Callable[[], ov.Model],
    *,
    variant: str = "",
    kept: Path | None = None,
) -> ov.CompiledModel:
    """The model of a graph, compiled or taken from what was kept.

    Args:
        graph: its file; the weights and what the model says of itself lie beside it.
        options: the runtime's.
        read: gives the graph as it is to be compiled.
        variant: what `read` makes of the file, where it can make several things.
        kept: folder of compiled models; None keeps nothing. Nor is a model kept that says nothing
            of itself: its checksums are what it is known by.

    Raises:
        RuntimeError: the graph cannot be read or compiled.
        ModelError: as `read`.
    """
    core = ov.Core()
    about = graph.with_name(INFO_FILE)
    if kept is None or not about.is_file():
        return core.compile_model(read(), "CPU", dict(options))
    path = kept / f"{_key(core, about, options, variant)}{_SUFFIX}"
    found = _load(path)
    if found is not None:
        with contextlib.suppress(RuntimeError):
            return core.import_model(BytesIO(found), "CPU", dict(options))
    model = core.compile_model(read(), "CPU", dict(options))
    with contextlib.suppress(OSError):  # a disk that is full or read-only, a folder of others
        _save(path, model)
    return model


def _key(core: ov.Core, about: Path, options: Mapping[str, object], variant: str) -> str:
    """What names a compiled model: all that decides what it computes, and how."""
    identity = {
        "daogou": version("daogou"),
        "runtime": ov.get_version(),
        "cpu": [core.get_property("CPU", "FULL_DEVICE_NAME"), platform.machine(), _instructions()],
        "options": {name: str(value) for name, value in options.items()},
        "variant": variant,
        "model": sha256_of(about),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _instructions() -> str:
    """What the CPU can do, as Linux says; empty elsewhere, where a name says more."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(("flags", "Features")):
                return line
    return ""


def _load(path: Path) -> bytes | None:
    """What was kept; None where there is nothing or it is not what was written."""
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


def _save(path: Path, model: ov.CompiledModel) -> None:
    """Keep a model, and no more of the others than is said.

    Raises:
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    exported: bytes = model.export_model().getvalue()
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=_ASIDE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(exported).digest())
            file.write(exported)
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
