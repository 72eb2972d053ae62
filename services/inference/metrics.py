"""What the service counts. vLLM's own `vllm:*` stand beside these, as it names them."""

from __future__ import annotations

from retrograde.runtime import metrics

SERVICE = "inference"

GENERATED_TOKENS = metrics.counter(SERVICE, "generated_tokens_total", "Tokens generated")
PROMPT_TOKENS = metrics.counter(SERVICE, "prompt_tokens_total", "Tokens of prompts, once per request")
CACHED_TOKENS = metrics.counter(SERVICE, "cached_tokens_total", "Tokens of prompts found in the prefix cache")
WEIGHT_SWAP_SECONDS = metrics.histogram(
    SERVICE,
    "weight_swap_seconds",
    "Weight swaps: prepare (nobody waits), drain (new requests wait), stop (no token is drawn)",
    ("phase",),
)
BEGUN_AGAIN_REQUESTS = metrics.counter(
    SERVICE, "begun_again_requests_total", "Requests begun again because the weights were swapped"
)
RUNNING_REQUESTS = metrics.gauge(SERVICE, "running_requests", "Requests given to the engine and not yet answered")
WAITING_REQUESTS = metrics.gauge(SERVICE, "waiting_requests", "Requests held while weights are swapped")
POLICY_VERSION = metrics.gauge(SERVICE, "policy_version_info", "Policy version served")
REFUSED_REQUESTS = metrics.counter(SERVICE, "refused_requests_total", "Requests refused because the queue was full")
