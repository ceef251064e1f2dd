#!/usr/bin/env bash
# Checks GPU telemetry and the whole pipeline on a machine with an NVIDIA GPU; see README.md. Six to seven minutes.
#
#   SERVELAB  the program (default: where cargo builds it)     OUT  folder for the evidence (default: a new one below /tmp)
#   GPU_CHECK_PYTHON  a Python with torch, tokenizers, jinja2 and aiohttp (default: python3)
#   GPU_CHECK_DEVICE=cpu  tries the check itself on a machine without a GPU
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "gpu-check: $*" >&2; exit 1; }

: "${SERVELAB:=target/release/servelab}" "${OUT:=$(mktemp -d)}"
export GPU_CHECK_PYTHON="${GPU_CHECK_PYTHON:-python3}" GPU_CHECK_DEVICE="${GPU_CHECK_DEVICE:-cuda}" GPU_CHECK_MODEL="${GPU_CHECK_MODEL:-1b}"
matrix=matrix/gpu-check.toml limit_s=420
if [ "$GPU_CHECK_DEVICE" = cpu ]; then
  matrix=matrix/gpu-check-cpu.toml GPU_CHECK_MODEL=tiny limit_s=1800
fi
[ -x "$SERVELAB" ] || fail "no program at $SERVELAB; run \`make build\`, or set SERVELAB"
"$GPU_CHECK_PYTHON" -c 'import torch, tokenizers, jinja2, aiohttp' || fail "$GPU_CHECK_PYTHON lacks a library; set GPU_CHECK_PYTHON"
mkdir -p "$OUT"
OUT="$(cd "$OUT" && pwd)"
exec > >(tee "$OUT/log.txt") 2>&1
began=$SECONDS
run="gpu-check-$(date -u +%Y%m%dT%H%M%SZ)"

echo "== doctor"
"$SERVELAB" doctor || echo "doctor: exit code $? (what it lacks is named above)"

smi=()
if [ "$GPU_CHECK_DEVICE" != cpu ]; then
  command -v nvidia-smi >/dev/null || fail "no nvidia-smi: nothing to hold the telemetry against"
  nvidia-smi -q > "$OUT/nvidia-smi.txt"
  query="$("$GPU_CHECK_PYTHON" -c 'import sys; sys.path.insert(0, "deploy/gpu-check"); import check; print(check.QUERY)')"
  nvidia-smi --query-gpu="$query" --format=csv,nounits --loop-ms=250 > "$OUT/nvidia-smi.csv" &
  sampler=$!
  trap 'kill "$sampler" 2>/dev/null || true' EXIT
  smi=("$OUT/nvidia-smi.csv")
fi

echo "== prompts ($((SECONDS - began)) s)"
"$SERVELAB" dataset build datasets/gpu-check.toml

echo "== run ($((SECONDS - began)) s)"
# 6: measured but invalid, which a variant that does nothing always is.
code=0
timeout "$limit_s" "$SERVELAB" run "$matrix" --no-report --run-id "$run" --runs "$OUT/runs" || code=$?
[ -d "$OUT/runs/$run" ] || fail "the run left nothing (exit code $code)"
# Whatever is wrong with it, the evidence comes back.
tar -C "$OUT/runs" -czf "$OUT/run.tar.gz" "$run"
rm -rf "$OUT/unpacked" && mkdir "$OUT/unpacked" && mv "$OUT/runs/$run" "$OUT/unpacked/" && rmdir "$OUT/runs"
dir="$OUT/unpacked/$run"
case "$code" in 0 | 6) ;; *) fail "the run ended with exit code $code" ;; esac

echo "== report ($((SECONDS - began)) s)"
"$SERVELAB" report "$dir" --out "$OUT/report"
mv "$OUT/report/index.html" "$OUT/report.html"
mv "$OUT/report/summary.json" "$OUT/summary.json"
rm -rf "$OUT/report"

echo "== check ($((SECONDS - began)) s)"
[ -z "${sampler:-}" ] || kill "$sampler"
checked=0
"$GPU_CHECK_PYTHON" deploy/gpu-check/check.py "$dir" "$OUT/summary.json" "${smi[@]}" | tee "$OUT/check.txt" || checked=1
rm -rf "$OUT/unpacked"
echo "evidence in $OUT after $((SECONDS - began)) s"
[ "$checked" -eq 0 ] || fail "a check failed"
