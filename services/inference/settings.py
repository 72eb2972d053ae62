"""Settings of the inference service: which model, how much of the machine, how much a caller may ask for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from retrograde.core.policy import InFlight
from retrograde.runtime.settings import ServiceSettings, is_loopback


def _model_folder(path: Path) -> Path:
    """Returns `path` when it is a Hugging Face directory with safetensors; ValueError with the fix otherwise."""
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise ValueError("no config.json with *.safetensors there; name a Hugging Face model directory")
    return path.resolve()


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrograde" / "checkpoints"


class InferenceSettings(ServiceSettings):
    """Serves one policy with vLLM."""

    checkpoint: Annotated[Path, AfterValidator(_model_folder)] = Field(
        description="Hugging Face directory served first; also the tokenizer and the shape of every later checkpoint."
    )
    model_name: str = Field(
        "policy", pattern=r"^[A-Za-z0-9._-]+$", description="Name under which the served checkpoint is remembered."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: the checkpoint's own.")
    max_model_tokens: int = Field(0, ge=0, description="Prompt and completion together; 0: the model's own limit.")
    max_num_seqs: int = Field(256, ge=1, description="Sequences in one engine step.")
    kv_cache_bytes: int = Field(1 << 30, ge=1 << 20, description="Key-value cache.")
    block_tokens: int = Field(
        32,
        ge=16,
        multiple_of=16,
        description="Tokens of a cache block: prompts share whole blocks only. On a CPU a multiple of 32.",
    )
    engine_threads: int = Field(
        1, ge=1, description="OpenMP threads of a CPU engine; above the cores that are really free it gets slower."
    )
    enforce_eager: bool = Field(default=True, description="No compilation: right for small models and on CPU.")
    seed: int = Field(0, ge=0, description="Of the engine; a request's own seed makes its answer repeatable.")
    max_n: int = Field(256, ge=1, description="Completions one request may ask for.")
    max_pending_sequences: int = Field(
        8192, ge=1, description="Sequences generating or waiting; requests beyond are refused as overload."
    )
    in_flight_at_swap: InFlight = Field(
        InFlight.FINISH,
        description="Requests that run when weights are swapped: finish under the old ones first, continue under the "
        "new ones, or begin_again under them; LoadWeights may ask for another.",
    )
    cache: Path = Field(default_factory=_default_cache, description="Folder for checkpoints brought from the store.")
    cache_checkpoints: int = Field(
        3, ge=1, description="Checkpoints kept there; what any replica that shares the folder serves is always kept."
    )
    cache_bytes: int = Field(64 << 30, ge=1, description="Their size at most; what is served is always kept.")
    openai_host: str = Field("127.0.0.1", description="Where the OpenAI-compatible HTTP API listens, if it does.")
    openai_port: int = Field(0, ge=0, le=65535, description="Its port; 0: no HTTP API.")

    @model_validator(mode="after")
    def _http_tokens_are_encrypted(self) -> Self:
        if self.openai_port and self.tokens and not self.tls and not is_loopback(self.openai_host):
            raise ValueError("tokens: not in plaintext over a network; set tls, or openai_host: 127.0.0.1")
        return self

    @model_validator(mode="after")
    def _http_asks_who_it_is(self) -> Self:
        """Over HTTPS clients show no certificate."""
        if self.openai_port and self.tls and not self.tokens and not is_loopback(self.openai_host):
            raise ValueError("openai_port: whoever reaches it could generate; set tokens, or openai_host: 127.0.0.1")
        return self
