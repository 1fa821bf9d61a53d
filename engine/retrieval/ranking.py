"""The learned final ranking: a candidate's features into one score, and whether anything fits.

A folder:

ranking.json   what is written below
model.txt      the trees, where a stage is ranked by LambdaMART (Burges 2010)
README.md      the model card

Two stages may be learned: the reranked one, and the fusion before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.checksums import FileEntry, sha256_of
from engine.errors import MissingExtraError, ModelError
from engine.retrieval.features import FEATURES, GAINS, STATISTICS, Column
from engine.types import Scores, Stage

INFO_FILE = "ranking.json"
SHIPPED_RANKING = Path(__file__).parents[1] / "models" / "shipped" / "ranking"
"""The final ranking that comes with daogou, fitted on the encoder beside it."""

_CURE = "Train it again: daogou train ranking --store STORE"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Weighed(_Model):
    """A weighted sum of named numbers, each centred and scaled."""

    names: tuple[str, ...] = Field(min_length=1)
    weights: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if {len(self.weights), len(self.centre), len(self.scale)} != {len(self.names)}:
            raise ValueError("names, weights, centre and scale differ in number")
        if not np.isfinite([*self.weights, *self.centre]).all() or min(self.scale) <= 0:
            raise ValueError("weights and centre must be finite, scale positive")
        return self

    def sum(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - numbers or columns
        """The sum over the names, added in their order: a candidate's is the same in any list."""
        total: Any = 0.0
        for part in self.parts(values).values():
            total = total + part
        return total

    def parts(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What each name adds to the sum."""
        return {
            name: weight * (np.asarray(values[name], dtype=np.float64) - centre) / scale
            for name, weight, centre, scale in zip(
                self.names, self.weights, self.centre, self.scale, strict=True
            )
        }


class Cutoff(_Model):
    """Logistic regression of "the catalog has something" on the query's statistics."""

    statistics: Weighed
    bias: float
    threshold: float = Field(ge=0, le=1)
    """Below it nothing is said to fit."""


class StageModel(_Model):
    """How one stage is ranked."""

    linear: Weighed | None = None
    trees: str = ""
    """File of the trees, where there are no weights."""
    features: tuple[str, ...] = Field(min_length=1)
    cutoff: Cutoff | None = None

    @property
    def form(self) -> Literal["linear", "lambdamart"]:
        """What kind of model it is."""
        return "lambdamart" if self.linear is None else "linear"

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.linear is None) == (not self.trees):
            raise ValueError("give either weights or trees")
        if self.linear is not None and self.linear.names != self.features:
            raise ValueError("the weights are not those of the features")
        return self


class FittedOn(_Model):
    """Fingerprints of what made the numbers that it was fitted on."""

    encoder: str
    lexical: str
    reranker: str | None = None


class RankingInfo(_Model):
    """What a final ranking says of itself."""

    schema_version: Literal[1] = 1
    kind: Literal["ranking"] = "ranking"
    name: str
    gains: tuple[float, float, float, float] = (0.0, 0.01, 0.1, 1.0)
    stages: dict[Stage, StageModel] = Field(min_length=1)
    fitted_on: FittedOn
    fingerprint: str = ""
    """What `fingerprint_of` gave when it was fitted."""
    files: dict[str, FileEntry] = {}
    provenance: dict[str, str] = {}

    @model_validator(mode="after")
    def _stages_make_sense(self) -> Self:
        if not self.stages.keys() <= {Stage.FUSED, Stage.RERANKED}:
            raise ValueError("only the fused and the reranked stage can be learned")
        last = self.stages.get(Stage.RERANKED)
        if last is not None and reads_reranker(last) and self.fitted_on.reranker is None:
            raise ValueError("the reranked stage is fitted on a reranker: name it")
        return self


def reads_reranker(model: StageModel) -> bool:
    """Whether the model or its cut-off reads what a reranker says."""
    names = {*model.features, *(() if model.cutoff is None else model.cutoff.statistics.names)}
    known = {feature.name for feature in FEATURES if feature.reranked}
    return bool(names & (known | {one.name for one in STATISTICS if one.reranked}))


def fingerprint_of(info: RankingInfo) -> str:
    """Hex digest of all that decides how it ranks."""
    identity = info.model_dump(mode="json", exclude={"name", "fingerprint", "provenance", "files"})
    identity["trees"] = {
        model.trees: info.files[model.trees].sha256
        for model in info.stages.values()
        if model.trees and model.trees in info.files
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def write_info(folder: Path, info: RankingInfo) -> RankingInfo:
    """Describe the files of the folder and write ranking.json beside them; returns what it says."""
    files = {path.name: FileEntry.of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    files.pop(INFO_FILE, None)
    info = info.model_copy(update={"files": files})
    info = info.model_copy(update={"fingerprint": fingerprint_of(info)})
    (folder / INFO_FILE).write_text(info.model_dump_json(indent=1), encoding="utf-8")
    return info


class Ranker:
    """Ranks one stage. Safe to use from many threads."""

    def __init__(self, stage: Stage, model: StageModel, folder: Path | None = None) -> None:
        self.stage = stage
        self.model = model
        self._folder = folder

    @property
    def features(self) -> tuple[str, ...]:
        """The features it reads."""
        return self.model.features

    @property
    def statistics(self) -> tuple[str, ...]:
        """The statistics its cut-off reads; none where it has no cut-off."""
        cutoff = self.model.cutoff
        return () if cutoff is None else cutoff.statistics.names

    def score(self, features: Mapping[str, Column]) -> Scores:
        """One score a candidate from its features, (n,) each; the same in any list.

        Raises:
            MissingExtraError: it ranks by trees and LightGBM is not installed.
        """
        if not len(features[self.features[0]]):
            return np.empty(0, dtype=np.float32)
        if self.model.linear is not None:
            return np.asarray(self.model.linear.sum(features), dtype=np.float32)
        return np.asarray(self._trees.predict(self._table(features)), dtype=np.float32)

    def parts(self, features: Mapping[str, Column]) -> dict[str, Column]:
        """What each feature adds to `score`, (n,) each: together they are the score.

        Of trees by TreeSHAP (Lundberg et al. 2020), what they give on average as "base".

        Raises:
            MissingExtraError: it ranks by trees and LightGBM is not installed.
        """
        if self.model.linear is not None:
            parts = self.model.linear.parts(features)
        else:
            found = self._trees.predict(self._table(features), pred_contrib=True)
            parts = dict(zip((*self.features, "base"), np.asarray(found).T, strict=True))
        return {name: np.asarray(part, dtype=np.float32) for name, part in parts.items()}

    def _table(self, features: Mapping[str, Column]) -> NDArray[np.float64]:
        """The features side by side, (n, features)."""
        return np.column_stack([features[name] for name in self.features]).astype(np.float64)

    def fits(self, statistics: Mapping[str, float]) -> float:
        """How likely the catalog has something for the query, by the query's statistics.

        Raises:
            ValueError: it was fitted without a cut-off.
        """
        cutoff = self.model.cutoff
        if cutoff is None:
            raise ValueError(f"the {self.stage} stage of this ranking has no cut-off")
        odds = float(cutoff.statistics.sum(statistics)) + cutoff.bias
        return float(1 / (1 + np.exp(-np.clip(odds, -60, 60))))

    def nothing_fits(self, probability: float) -> bool:
        """Whether so low a probability is to be told to the shopper."""
        return self.model.cutoff is not None and probability < self.model.cutoff.threshold

    @cached_property
    def _trees(self) -> Any:  # noqa: ANN401 - LightGBM has no types
        try:
            import lightgbm  # noqa: PLC0415 - optional, and only where a ranking has trees
        except ImportError as error:
            raise MissingExtraError("a final ranking by trees", "train") from error
        path = (self._folder or Path()) / self.model.trees
        try:
            return lightgbm.Booster(model_file=str(path))
        except lightgbm.basic.LightGBMError as error:
            raise ModelError(f"{path} holds no trees ({error}). {_CURE}") from error


class LearnedRanking:
    """A final ranking: one `Ranker` for each stage it was fitted for."""

    def __init__(self, info: RankingInfo, folder: Path | None = None) -> None:
        self.info = info
        self.rankers: dict[Stage, Ranker] = {
            stage: Ranker(stage, model, folder) for stage, model in info.stages.items()
        }

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides how it ranks."""
        return self.info.fingerprint

    def load(self) -> None:
        """Read the trees, if there are any, before the first search has to.

        Raises:
            MissingExtraError: LightGBM is not installed.
        """
        for ranker in self.rankers.values():
            if ranker.model.trees:
                _ = ranker._trees


def load_ranking(folder: Path) -> LearnedRanking:
    """The final ranking in a folder that `daogou train ranking` wrote.

    Raises:
        ModelError: the folder is missing, damaged, edited, or of another version.
    """
    return LearnedRanking(read_ranking_info(folder), folder)


def read_ranking_info(folder: Path) -> RankingInfo:
    """What the final ranking in the folder says of itself, checked against its files.

    Raises:
        ModelError: as `load_ranking`.
    """
    path = folder / INFO_FILE
    try:
        info = RankingInfo.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"{folder} is no final ranking: it has no {INFO_FILE}. {_CURE}") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}). Check its rights") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"{path} is damaged or of another version: {where}: {first['msg']}. {_CURE}"
        ) from error
    _check_files(folder, info)
    if info.fingerprint != fingerprint_of(info):
        raise ModelError(f"{path} was edited: its fingerprint does not fit. {_CURE}")
    _check_names(path, info)
    return info


def _check_files(folder: Path, info: RankingInfo) -> None:
    """Refuse files that are missing or altered, and trees that are not listed."""
    trees = {model.trees for model in info.stages.values() if model.trees}
    if not trees <= info.files.keys():
        raise ModelError(f"{folder / INFO_FILE} does not list {', '.join(sorted(trees))}. {_CURE}")
    for name, record in info.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing. {_CURE}")
        if path.stat().st_size != record.size or sha256_of(path) != record.sha256:
            raise ModelError(f"{path} was altered: its SHA-256 is not the one recorded. {_CURE}")


def _check_names(path: Path, info: RankingInfo) -> None:
    """Refuse features, statistics and gains that this daogou does not compute."""
    if not np.allclose(info.gains, GAINS):
        raise ModelError(
            f"{path} was fitted with gains {info.gains}, not {GAINS.tolist()}. {_CURE}"
        )
    for stage, model in info.stages.items():
        ranker = Ranker(stage, model)
        reranked = stage is Stage.RERANKED
        known = {feature.name for feature in FEATURES if reranked or not feature.reranked}
        known |= {one.name for one in STATISTICS if reranked or not one.reranked}
        unknown = sorted({*ranker.features, *ranker.statistics} - known)
        if unknown:
            raise ModelError(
                f"{path} reads {', '.join(unknown)}, which this daogou does not compute for the "
                f"{stage} stage. {_CURE}"
            )
