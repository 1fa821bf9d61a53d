"""The training loop: seeded, and a run that was killed ends as one that was not."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from engine.errors import TrainingError

pytest.importorskip("torch", reason="training needs torch: pip install 'daogou[train]'")

import torch

from indexer.train.loop import Plan, fit, packed, shuffled

ROOT = Path(__file__).parents[3]
SLOW_RUN = """
import sys, time, torch
from pathlib import Path
from indexer.train.loop import Plan, fit
from tests.indexer.train.test_loop import batches, model, squared
module = model()
def slow(batch):
    time.sleep(0.02)
    return squared(module, batch)
fit(module, batches(), slow, Plan(1e-2, checkpoint_seconds=0.0), checkpoint=Path(sys.argv[1]),
    digest="recipe", seed=1, advance=lambda _: None)
"""


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))


def batches(count: int = 60) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return list(torch.randn(count, 6, 4, generator=generator))


def squared(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return (module(batch).squeeze(-1) - batch.sum(dim=-1)).square().mean()


class StoppedError(Exception):
    """Stands for whatever ends a run early."""


def run(
    checkpoint: Path, *, stop_after: int | None = None, digest: str = "recipe", seed: int = 1
) -> tuple[torch.nn.Module, list[float], list[int]]:
    """A whole run, or one that stops; the model, its losses and what it reported."""
    module, steps = model(), 0
    reported: list[int] = []

    def loss(batch: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        if steps == stop_after:
            raise StoppedError
        steps += 1
        return squared(module, batch)

    losses: list[float] = []
    with suppress(StoppedError):
        fitted = fit(
            module,
            batches(),
            loss,
            Plan(1e-2, checkpoint_seconds=0.0),
            checkpoint=checkpoint,
            digest=digest,
            seed=seed,
            advance=reported.append,
        )
        losses = fitted.losses
    return module, losses, reported


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_it_learns_and_repeats_itself(tmp_path: Path) -> None:
    first, losses, reported = run(tmp_path / "a.pt")
    second, again, _ = run(tmp_path / "b.pt")
    assert same(first, second)
    assert losses == again
    assert len(losses) == sum(reported) == 60
    assert sum(losses[-10:]) < sum(losses[:10])
    assert not same(first, run(tmp_path / "c.pt", seed=2)[0])


@pytest.mark.parametrize("stop", [1, 29, 59])
def test_a_stopped_run_ends_as_a_whole_one(tmp_path: Path, stop: int) -> None:
    whole, losses, _ = run(tmp_path / "whole.pt")
    run(tmp_path / "stopped.pt", stop_after=stop)
    resumed, all_losses, reported = run(tmp_path / "stopped.pt")
    assert same(whole, resumed)
    assert losses == all_losses
    assert reported[0] == stop  # what was done before counts as done
    assert sum(reported) == 60


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    whole, losses, _ = run(tmp_path / "whole.pt")
    again, same_losses, _ = run(tmp_path / "whole.pt", stop_after=0)  # the first step would stop it
    assert same(whole, again)
    assert losses == same_losses


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "whole.pt")
    with pytest.raises(TrainingError, match=r"whole\.pt .*--restart"):
        run(tmp_path / "whole.pt", digest="another")


@pytest.mark.parametrize("kept", [0, 10, 1_000, -1])
def test_a_damaged_checkpoint_is_named_with_its_cure(tmp_path: Path, kept: int) -> None:
    run(tmp_path / "whole.pt", stop_after=2)
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "whole.pt").write_bytes(whole[:kept])
    with pytest.raises(TrainingError, match=r"whole\.pt .* damaged.* --restart"):
        run(tmp_path / "whole.pt")


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path) -> None:
    module = model()
    with pytest.raises(TrainingError, match=r"nan at step 1: .* --base, .* --seed$"):
        fit(
            module,
            batches(),
            lambda batch: squared(module, batch) * float("nan"),
            Plan(1e-2),
            checkpoint=tmp_path / "a.pt",
            digest="recipe",
            seed=1,
            advance=lambda _: None,
        )


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, _, _ = run(tmp_path / "whole.pt")
    checkpoint = tmp_path / "killed.pt"
    for wait in (0.0, 0.11):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_RUN, str(checkpoint)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        while process.poll() is None and (
            not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before
        ):
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    done = len(torch.load(checkpoint, weights_only=True)["losses"])
    assert 0 < done < 60
    resumed, losses, reported = run(checkpoint)
    assert reported[0] == done
    assert len(losses) == 60
    assert same(whole, resumed)


def test_orders_hold_every_list_once_an_epoch() -> None:
    order = shuffled(7, 3, seed=2)
    assert [sorted(order[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3
    assert order[:7] != order[7:14]
    assert order == shuffled(7, 3, seed=2)


def test_lists_are_packed_whole() -> None:
    assert packed([3, 3, 9, 1], [0, 1, 2, 3], 5) == [[0, 1], [2], [3]]
    assert packed([], [], 5) == []


def test_what_it_began_with_is_kept_in_part(tmp_path: Path) -> None:
    """Run once or taken up from its end, the weights are drawn back exactly once."""
    first = model().state_dict()
    free, _, _ = run(tmp_path / "free.pt")
    for _ in range(2):
        kept = model()
        fit(
            kept,
            batches(),
            functools.partial(squared, kept),
            Plan(1e-2, keep=0.25),
            checkpoint=tmp_path / "kept.pt",
            digest="recipe",
            seed=1,
            advance=lambda _: None,
        )
        for name, value in kept.state_dict().items():
            expected = 0.25 * first[name] + 0.75 * free.state_dict()[name]
            assert torch.allclose(value, expected, atol=1e-6)
