#!/usr/bin/env bash
# A server from PyPI that installs without a compiler, in an environment of its own: pypi-install.sh guidellm|litellm. Prints the folder.
# llama-cpp-python is not among them: PyPI has it as source only.
set -euo pipefail

case "${1:-}" in
  guidellm) packages=("guidellm==0.8.1" "sanic") ;;
  # 1.107.0 was a compromised release; this one is older, and well before it.
  litellm) packages=("litellm[proxy]==1.99.4") ;;
  *) echo "usage: pypi-install.sh guidellm|litellm" >&2; exit 2 ;;
esac
home="${SERVELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/servelab}/test-server-$1"

if [ "$(cat "$home/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  command -v uv >/dev/null || { echo "pypi-install.sh: uv is missing; pip install uv" >&2; exit 4; }
  echo "${packages[*]} into $home" >&2
  uv venv --quiet --clear --python 3.11 "$home/venv"
  uv pip install --quiet --only-binary :all: --python "$home/venv/bin/python" "${packages[@]}" >&2
  echo "${packages[*]}" > "$home/installed"
fi
echo "$home"
