#!/usr/bin/env bash
# GuideLLM's mock server on the loopback: guidellm-serve.sh PORT [FLAGS]. The first token after 20 ms, the others 2 ms apart.
set -euo pipefail

home="$("$(dirname "$0")/pypi-install.sh" guidellm)"
port="$1"
shift
export HF_HUB_OFFLINE=1 DO_NOT_TRACK=1
exec "$home/venv/bin/guidellm" mock-server --host 127.0.0.1 --port "$port" --model mock --ttft-ms 20 --itl-ms 2 --output-tokens 16 "$@"
