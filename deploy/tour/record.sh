#!/usr/bin/env bash
# Records docs/TOUR.md: what each command says in a terminal of 80 columns, against two simulated servers of this machine, of which the
# second takes 15 % longer for every step. The machine should be calm: what a busy client measures is INVALID.
# SERVELAB is the program; `make tour` builds it.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
servelab="$(readlink -f "${SERVELAB:-$root/target/release/servelab}")"
work="$(mktemp -d)"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

ln -s "$servelab" "$work/servelab"
mkdir "$work/project"
cp -r "$root/matrix" "$root/datasets" "$root/prompts" "$work/project/"
cd "$work/project"
export PATH="$work:$PATH" COLUMNS=80 NO_COLOR=1

serve() { # PORT SLOWDOWN
  servelab sim --port "$1" --served-model-name mistral-7b --time-scale 4 --startup-seconds 0.1 --hidden-slowdown "$2" \
    --tokenizer-dir datasets/tokenizers/mistral-7b-instruct-v0.3 -- --no-enable-prefix-caching > "$work/$1.log" 2>&1 &
  pids+=($!)
  until grep -q '"listening"' "$work/$1.log"; do sleep 0.1; done
}
serve 8000 1
serve 8001 1.15

said() { # COMMAND…: the command and what it says
  local rc=0
  printf '```console\n$ %s\n' "$*"
  "$@" 2>&1 || rc=$?
  printf '```\n\nExit code %s.\n\n' "$rc"
}

{
  cat <<'TEXT'
# A tour: what each command says

Recorded by `make tour` in 80 columns, on two simulated servers of one machine (`servelab sim`), of which the one at port 8001 takes 15 % longer
for every step. SIMULATED stands wherever no GPU gave a number.

## One server, one load

TEXT
  said servelab bench --url http://127.0.0.1:8000 --requests 200 --concurrency 8 --input-tokens 200..400 --output-tokens 32
  printf '## Several loads, and the knee\n\n'
  said servelab bench --url http://127.0.0.1:8000 --sweep concurrency=1,2,4,8,16,32 --requests 64 --output-tokens 32 -q
  printf '## The highest load that meets objectives\n\n'
  said servelab bench --url http://127.0.0.1:8000 --find-max concurrency --slo ttft=60ms,tpot=50ms --output-tokens 16 --max-minutes 2
  printf '## Two servers, one verdict\n\n'
  said servelab compare --url http://127.0.0.1:8000 --url http://127.0.0.1:8001 --blocks 8 --requests 120 --output-tokens 32 -q
  printf '## A matrix, from its file to the page\n\n'
  said servelab run matrix/demo.toml -q
  printf '## What has been run\n\n'
  said servelab results list
  printf '## A server that cannot be measured\n\n'
  said servelab bench --url http://127.0.0.1:8002
} > "$work/TOUR.md"
mv "$work/TOUR.md" "$root/docs/TOUR.md"
