"""One frozen set of options, read once and passed in; never a global."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.errors import SettingsError
from engine.types import Mode


def user_cache() -> Path | None:
    """Where this user's programs keep what can be made again; None where nobody says.

    XDG Base Directory Specification 0.8.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "daogou"
    try:
        return Path.home() / ".cache" / "daogou"
    except RuntimeError:  # a user without a home
        return None


class Settings(BaseSettings):
    """Options of the engine and the API.

    Each may be given by environment variable with the prefix `DAOGOU_`, for example
    `DAOGOU_STORE=/var/lib/daogou`.
    """

    model_config = SettingsConfigDict(env_prefix="DAOGOU_", frozen=True, extra="ignore")

    store: Path = Field(default=Path("store"), description="Folder of the snapshots.")
    threads: int = Field(default=0, ge=0, description="Inference threads; 0 takes every core.")
    model_cache: Annotated[Path | None, BeforeValidator(lambda given: given or None)] = Field(
        default_factory=user_cache,
        description="Folder of models compiled for this CPU: what uses one a second time starts "
        "sooner; empty keeps none.",
    )
    lexical_depth: int = Field(
        default=200, ge=1, le=10_000, description="Candidates keyword search brings."
    )
    dense_depth: int = Field(
        default=200, ge=1, le=10_000, description="Candidates vector search brings."
    )
    mode: Mode | None = Field(
        default=None,
        description="What a search may cost by default: fast (nothing is reranked), balanced or "
        "best. It stands for a value of `rerank` and `rerank_depth`, where those are not given.",
    )
    rerank_depth: int = Field(default=20, ge=1, le=1_000, description="Candidates reranked.")
    rerank: bool = Field(
        default=False, description="Rerank by default where the snapshot holds a reranker."
    )
    timeout_ms: int = Field(
        default=300,
        ge=1,
        le=60_000,
        description="A search of the API is begun within this or refused; reranking that would "
        "end later is left out.",
    )
    queue: int = Field(
        default=64, ge=1, le=10_000, description="Requests that may wait; more are refused (503)."
    )
    cache: int = Field(
        default=10_000,
        ge=0,
        le=1_000_000,
        description="Products that the answers kept for repeated searches hold; 0 keeps none.",
    )
    max_query_chars: int = Field(default=1_000, ge=1, description="Longer queries are refused.")
    follow_seconds: float = Field(
        default=1.0,
        ge=0,
        le=3_600,
        description="How often a server looks for a newly published snapshot; 0: never.",
    )
    llm_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="OpenAI-compatible chat endpoint that phrases answers; empty: none does.",
    )
    llm_model: str = Field(default="default", description="Name the endpoint knows its model by.")
    llm_key: SecretStr = Field(default=SecretStr(""), description="Bearer token of the endpoint.")
    llm_timeout_ms: int = Field(
        default=10_000,
        ge=1,
        le=120_000,
        description="An answer not phrased by then stays as it is.",
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_is_spelt_out(cls, given: Any) -> Any:  # noqa: ANN401 - as pydantic has it
        mode = given.get("mode")
        if mode in set(Mode):
            depth = Mode(mode).depth
            given = {"rerank": depth > 0} | ({"rerank_depth": depth} if depth else {}) | given
        return given

    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port the API listens on.")


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - each option has its own type
    """The settings of the environment, overruled by the options given.

    Raises:
        SettingsError: a value cannot be used; the message names the variable or option.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        name = option if option in overrides else f"DAOGOU_{option.upper()}"
        raise SettingsError(
            f"{name} cannot be {first['input']!r}: {first['msg']}. Correct it or leave it out"
        ) from error
