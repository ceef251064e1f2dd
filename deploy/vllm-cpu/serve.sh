#!/usr/bin/env bash
# `vllm serve "$@"` of the vLLM that install.sh installed: on the CPU, without asking any hub, 1 GiB of KV cache.
set -euo pipefail

engine="$("$(dirname "$0")/install.sh")"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
export VLLM_TARGET_DEVICE=cpu VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}"
export VLLM_CACHE_ROOT="$engine/compiled"  # what torch.compile made, for the next start
export PATH="$engine/venv/bin:$PATH"
exec vllm serve "$@"
