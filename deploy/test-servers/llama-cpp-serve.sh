#!/usr/bin/env bash
# `llama-server` of llama-cpp-install.sh on the loopback: llama-cpp-serve.sh PORT [FLAGS]. One thread computes, so that a client on the
# same machine has the other core.
set -euo pipefail

home="$("$(dirname "$0")/llama-cpp-install.sh")"
port="$1"
shift
exec chroot "$home/root" llama-server -m /models/m.gguf --host 127.0.0.1 --port "$port" -c 8192 -np 4 --threads 1 --metrics "$@"
