#!/usr/bin/env bash
# The LiteLLM proxy on the loopback, in front of an OpenAI-compatible server on another port: litellm-serve.sh PORT ENGINE_PORT.
set -euo pipefail

home="$("$(dirname "$0")/pypi-install.sh" litellm)"
config="$(mktemp -d)/litellm.yaml"
cat > "$config" <<YAML
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "http://127.0.0.1:$2/v1", api_key: none}
YAML
# Its price list is otherwise fetched from a network.
export LITELLM_LOCAL_MODEL_COST_MAP=True DO_NOT_TRACK=1
exec "$home/venv/bin/litellm" --config "$config" --host 127.0.0.1 --port "$1" --telemetry False
