"""The training loop: seeded, with checkpoints, going on after a kill where it was.

torch and not a ready-made trainer: a batch here is a handful of ragged lists under two losses at
once, and a run that was killed inside an epoch ends with the same weights as one that was not.
"""

from __future__ import annotations

import functools
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch

from engine.errors import TrainingError
from indexer.progress import Advance

B = TypeVar("B")

FRESH = ("gate", "importance.", "classifier.")
"""Beginnings of the names of parameters that a cross-encoder does not bring with it."""
FRESH_SPEED = 20.0
"""How much faster than the others those learn: at the others' rate they stay what they were."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How weights are moved."""

    learning_rate: float
    warmup: float = 0.1
    """Share of the steps over which the rate rises; after them it falls to 0 in a line."""
    weight_decay: float = 0.01
    clip: float = 1.0
    keep: float = 0.0
    """Share of the weights it began with in those it ends with: see `fit`."""
    checkpoint_seconds: float = 120.0


@dataclass(slots=True)
class Fitted:
    """What came of `fit`, over all its sessions."""

    losses: list[float]
    """Of each step."""
    seconds: float


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> torch.autocast:
    """bfloat16 where the hardware multiplies it, full precision elsewhere.

    A CPU without avx512_bf16 or amx emulates bfloat16: 10 instead of 33 pairs a second, measured.
    """
    if torch.cuda.is_available():
        return torch.autocast("cuda", torch.bfloat16)
    return torch.autocast("cpu", torch.bfloat16, enabled=_multiplies_bfloat16())


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether this CPU says that it does; only Linux is asked."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def shuffled(count: int, epochs: int, seed: int) -> list[int]:
    """Places 0 to count - 1, once an epoch, each epoch in an order of its own."""
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    order: list[int] = []
    for _ in range(epochs):
        places = list(range(count))
        chance.shuffle(places)
        order += places
    return order


def packed(sizes: Sequence[int], order: Sequence[int], limit: int) -> list[list[int]]:
    """The order cut into batches of at most about `limit` candidates; no list is split."""
    batches: list[list[int]] = []
    held = limit
    for place in order:
        if held >= limit:
            batches.append([])
            held = 0
        batches[-1].append(place)
        held += sizes[place]
    return batches


def fit(
    module: torch.nn.Module,
    batches: Sequence[B],
    loss: Callable[[B], torch.Tensor],
    plan: Plan,
    *,
    checkpoint: Path,
    digest: str,
    seed: int,
    advance: Advance,
) -> Fitted:
    """Minimise the loss over the batches, in their order.

    AdamW (Loshchilov and Hutter 2019), gradients clipped. The state is written to `checkpoint`
    every `plan.checkpoint_seconds` and taken up from there when called again with the same digest.
    At the end the weights are drawn back to those it began with by `plan.keep`: the mean of both
    generalises better than either (WiSE-FT, Wortsman et al. 2022).

    Raises:
        TrainingError: the checkpoint is damaged, of another recipe or other data, or the loss
            left the numbers.
    """
    torch.manual_seed(seed)
    learnt = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    fresh = [p for name, p in learnt if name.startswith(FRESH)]
    others = [p for name, p in learnt if not name.startswith(FRESH)]
    before = [parameter.detach().clone() for parameter in others + fresh]
    rate = plan.learning_rate
    groups = [{"params": others, "lr": rate}, {"params": fresh, "lr": rate * FRESH_SPEED}]
    optimiser = torch.optim.AdamW(
        [group for group in groups if group["params"]], weight_decay=plan.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _share(step, len(batches), plan.warmup)
    )
    run = _Run(digest, module, optimiser, schedule)
    fitted = _resume(checkpoint, run)
    losses, spent = fitted.losses, fitted.seconds
    advance(len(losses))
    module.train()
    saved = started = time.monotonic()
    for batch in batches[len(losses) :]:
        with autocast():
            value = loss(batch)
        if not math.isfinite(value.item()):
            raise TrainingError(
                f"the loss is {value.item()} at step {len(losses) + 1}: training cannot go on. "
                "Start from another --base, or draw otherwise with another --seed"
            )
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call,unused-ignore]
        torch.nn.utils.clip_grad_norm_(others + fresh, plan.clip)
        optimiser.step()
        schedule.step()
        losses.append(value.item())
        advance(1)
        if time.monotonic() - saved > plan.checkpoint_seconds:
            fitted.seconds = spent + time.monotonic() - started
            _save(checkpoint, run, fitted)
            saved = time.monotonic()
    fitted.seconds = spent + time.monotonic() - started
    _save(checkpoint, run, fitted)
    with torch.no_grad():  # after saving: what is gone on from is drawn back once, at its end
        for parameter, first in zip(others + fresh, before, strict=True):
            parameter.lerp_(first, plan.keep)
    module.eval()
    return fitted


def _share(step: int, steps: int, warmup: float) -> float:
    """The learning rate of a step as a share of the highest."""
    rising = max(1.0, warmup * steps)
    return min((step + 1) / rising, max(0.0, (steps - step) / max(1.0, steps - rising)))


@dataclass(frozen=True, slots=True)
class _Run:
    """What a checkpoint holds the state of."""

    digest: str
    module: torch.nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR


def _save(path: Path, run: _Run, fitted: Fitted) -> None:
    """Write aside, then replace: a kill leaves the checkpoint before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    state = {
        "digest": run.digest,
        "module": run.module.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "schedule": run.schedule.state_dict(),
        "losses": fitted.losses,
        "seconds": fitted.seconds,
        "chance": torch.get_rng_state(),
        "chance_cuda": torch.cuda.get_rng_state_all(),
    }
    torch.save(state, fresh)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def _resume(path: Path, run: _Run) -> Fitted:
    """Take up the state in the checkpoint, if there is one; what came of it so far."""
    if not path.exists():
        return Fitted([], 0.0)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
        raise TrainingError(
            f"{path} cannot be read: it is damaged. Start anew with --restart, or delete it"
        ) from error
    if state["digest"] != run.digest:
        raise TrainingError(
            f"{path} was written by another recipe or with other data. "
            "Name another --out, or start anew with --restart"
        )
    run.module.load_state_dict(state["module"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["chance"])
    if len(state["chance_cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["chance_cuda"])
    return Fitted(list(state["losses"]), state["seconds"])
