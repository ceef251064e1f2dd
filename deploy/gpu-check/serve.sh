#!/usr/bin/env bash
# The engine of the check, with what the provider adds behind it. GPU_CHECK_PYTHON, GPU_CHECK_DEVICE and GPU_CHECK_MODEL choose another
# Python, `cpu`, and `tiny`.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
exec "${GPU_CHECK_PYTHON:-python3}" "$here/engine.py" "${GPU_CHECK_MODEL:-1b}" --device "${GPU_CHECK_DEVICE:-cuda}" \
  --tokenizer "$here/../../datasets/tokenizers/mistral-7b-instruct-v0.3" "$@"
