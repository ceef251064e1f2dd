#!/usr/bin/env bash
# Three of the check's engines on one GPU, compared as servers that are up already: A, its equal B, and C without CUDA graphs. Then one
# load with prompts of an exact length, which no tokenizer here counts. About four minutes; see README.md.
#
#   SERVELAB, OUT, GPU_CHECK_PYTHON, GPU_CHECK_DEVICE: as for run.sh     BLOCKS (12), REQUESTS of a trial (40)
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "gpu-check: $*" >&2; exit 1; }

: "${SERVELAB:=target/release/servelab}" "${OUT:=$(mktemp -d)}" "${BLOCKS:=12}" "${REQUESTS:=40}"
SERVELAB="$(realpath "$SERVELAB")"
export GPU_CHECK_PYTHON="${GPU_CHECK_PYTHON:-python3}" GPU_CHECK_DEVICE="${GPU_CHECK_DEVICE:-cuda}" GPU_CHECK_MODEL="${GPU_CHECK_MODEL:-1b}"
[ "$GPU_CHECK_DEVICE" = cuda ] || GPU_CHECK_MODEL=tiny
[ -x "$SERVELAB" ] || fail "no program at $SERVELAB; run \`make build\`, or set SERVELAB"
mkdir -p "$OUT"
OUT="$(cd "$OUT" && pwd)"
work="$(mktemp -d)"
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
exec > >(tee "$OUT/compare.txt") 2>&1

start() { deploy/gpu-check/serve.sh --port "$1" "${@:2}" 2> "$OUT/engine-$1.log" & }
answers() { "$GPU_CHECK_PYTHON" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$1/health', timeout=1)" 2>/dev/null; }
start 8101
start 8102
start 8103 --enforce-eager
for port in 8101 8102 8103; do
  for _ in $(seq 120); do answers "$port" && break; sleep 1; done
  answers "$port" || fail "no engine on port $port; see $OUT/engine-$port.log"
done

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
# 7: C is worse, which it should be; 8: nothing was shown.
code=0
(cd "$work" && "$SERVELAB" compare --url http://127.0.0.1:8101 --url http://127.0.0.1:8102 --url http://127.0.0.1:8103 \
  --blocks "$BLOCKS" --requests "$REQUESTS" --max-minutes 6 --seed 1) || code=$?
echo "exit code $code"
"$SERVELAB" bench --url http://127.0.0.1:8101 --input-tokens 512..1024 --output-tokens 64 --sweep concurrency=1,4,16 --requests 64 || echo "exit code $?"
