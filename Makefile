# servelab: `make demo` and `make test` are all a newcomer needs.
# Every target works from a clean checkout; files that are there already are not built again.

CARGO ?= cargo
# Where cargo builds to, by its own account: CARGO_TARGET_DIR and build.target-dir of its configuration move it.
TARGET := $(shell $(if $(CARGO_TARGET_DIR),CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)') $(CARGO) metadata --format-version 1 --no-deps \
	| sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
BIN := $(or $(TARGET),target)/release/servelab
PROMPTS := prompts/l4-1800.jsonl
VLLM_CPU := deploy/vllm-cpu
VLLM_CPU_PROMPTS := prompts/vllm-cpu-24.jsonl
ENGINE ?= sim
SOURCES := $(shell find crates -name '*.rs' -o -name '*.toml' -o -name '*.html' -o -name '*.css' -o -name '*.js' -o -name '*.sql' -o -name '*.txt' | grep -v /tests/)
DATASETS := $(wildcard datasets/*.toml datasets/*/*) $(wildcard prompts/*.j2)

.PHONY: help bench-evaluate bench-instrument bench-store bench-verify build demo dataset matrix report rerun test lint deny formats \
	clean torture torture-compare torture-disk torture-find-max torture-fuzz torture-kill torture-rerun torture-resume \
	torture-starvation torture-verify engine-vllm-cpu model-smollm2 test-vllm torture-vllm test-servers test-servers-all side-by-side \
	tour check-gpu

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

build: $(BIN) ## the servelab program

$(BIN): $(SOURCES) Cargo.toml Cargo.lock
	$(CARGO) build --release --locked --package servelab-cli
	@touch $@

dataset: $(PROMPTS) ## the 1800 prompts, token-checked

$(PROMPTS): $(BIN) $(DATASETS)
	$(BIN) dataset build datasets/l4.toml
	@touch $@

demo: $(PROMPTS) ## dataset, small matrix and report on the simulated engine, in minutes and without a GPU
	$(BIN) run matrix/sanity.toml --no-report
	$(BIN) run matrix/demo.toml

ifeq ($(ENGINE),sim)
matrix: $(PROMPTS) ## the full C1-C8 study on the simulated engine; ENGINE=vllm-cpu for a small one on real vLLM
	$(BIN) run matrix/sanity.toml --no-report
	$(BIN) run matrix/c1-c8.toml
else ifeq ($(ENGINE),vllm-cpu)
matrix: $(VLLM_CPU_PROMPTS)
	$(BIN) run matrix/vllm-cpu.toml || [ $$? -eq 6 ]  # 6: the CPU refuses some variants, which is what the run shows.
else
matrix:
	@echo "ENGINE=$(ENGINE) is unknown; write ENGINE=sim or ENGINE=vllm-cpu, or run servelab with a matrix of your own" >&2; exit 2
endif

engine-vllm-cpu: ## real vLLM for a machine without a GPU, into ~/.cache/servelab (5.2 GB)
	$(VLLM_CPU)/install.sh

model-smollm2: ## a small model with real weights for it (270 MB)
	$(VLLM_CPU)/model.sh

$(VLLM_CPU_PROMPTS): $(BIN) datasets/vllm-cpu.toml
	$(VLLM_CPU)/model.sh
	$(BIN) dataset build datasets/vllm-cpu.toml
	@touch $@

test-vllm: $(VLLM_CPU_PROMPTS) ## real requests to real vLLM on the CPU (minutes)
	$(CARGO) test --locked --package servelab-cli --features real-engine --test vllm check:: -- --nocapture --test-threads=1

torture-vllm: $(VLLM_CPU_PROMPTS) ## what takes longer: speculation, LoRA, engines that die, settings that do nothing
	$(CARGO) test --locked --package servelab-cli --features real-engine --test vllm torture:: -- --nocapture --test-threads=1

test-servers: ## servelab bench against real llama.cpp and transformers serve (root for debootstrap; minutes)
	$(CARGO) test --locked --package servelab-cli --features real-engine --test servers ci:: -- --nocapture --test-threads=1

test-servers-all: ## the same, and the servers that PyPI has without a compiler (docs/SERVERS.md)
	$(CARGO) test --locked --package servelab-cli --features real-engine --test servers -- --nocapture --test-threads=1

side-by-side: $(BIN) ## the same 80 requests by servelab bench, vllm bench serve and GuideLLM (minutes; a calm machine)
	SERVELAB=$(BIN) deploy/side-by-side/run.sh

tour: $(BIN) $(PROMPTS) ## docs/TOUR.md: what each command says, recorded (ten minutes; a calm machine)
	SERVELAB=$(BIN) deploy/tour/record.sh

check-gpu: $(BIN) ## telemetry and pipeline on this machine's NVIDIA GPU (minutes; deploy/gpu-check/README.md)
	SERVELAB=$(BIN) deploy/gpu-check/run.sh

rerun: $(PROMPTS) ## one pinned run on the simulated engine again: fails where it is worse than runs/pinned/ci.json (a minute or two)
	$(BIN) rerun ci --fail-on worse --no-calibrate

report: $(BIN) ## HTML, SVG, CSV and JSON of the latest run, again
	$(BIN) report

bench-instrument: $(BIN) ## the load generator beside a bare client that only drains bytes (five minutes; QUICK=1 for one)
	$(BIN) bench-instrument $(if $(QUICK),--quick)

bench-evaluate: ## what evaluating a run costs, at 10⁴, 10⁵ and 10⁶ requests (five minutes, 3 GB of temporary files)
	$(CARGO) run --release --locked --quiet -p servelab-runner --example evaluate_bench

bench-verify: ## what verifying a run costs, at 10⁴, 10⁵ and 10⁶ requests (ten minutes, 4 GB of temporary files)
	$(CARGO) run --release --locked --quiet -p servelab-verify --example verify_bench

bench-store: ## reading runs in beside bare INSERTs, at 10⁴ to 10⁶ requests; queries over 100 to 10,000 runs (ten minutes, 8 GB)
	$(CARGO) run --release --locked --quiet -p servelab-store --example store_bench

test: lint ## what CI checks, apart from test-vllm
	$(CARGO) test --workspace --locked --quiet

lint: ## format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked --quiet -- -D warnings

torture-starvation: ## a client that is frozen, throttled or crowded out, many times over (root, an idle machine, minutes)
	$(CARGO) test --release --locked --package servelab-cli --features torture --test it starvation::torture -- --nocapture --test-threads=1

torture-compare: ## five comparisons of two null servers each, equal and 10 % apart (minutes; a calm machine)
	$(CARGO) test --release --locked --package servelab-cli --features torture --test it compare::torture -- --nocapture --test-threads=1

torture-disk: ## every operation of the disk fails in turn while a run goes on (half an hour)
	$(CARGO) test --release --locked --package servelab-cli --features torture --test it full_disk::torture -- --nocapture --test-threads=1

torture-kill: ## ingest, report and seal are killed at a hundred moments each (minutes)
	$(CARGO) test --release --locked --package servelab-cli --features torture --test it killed_verbs::torture -- --nocapture --test-threads=1

torture-resume: ## two hundred runs that are killed and go on (half an hour)
	$(CARGO) test --release --locked --package servelab-cli --features torture --test it resume::torture -- --nocapture --test-threads=1

torture-rerun: ## ten pinned re-runs as they were and ten with a planted slowdown of 15 % (half an hour)
	$(CARGO) test --release --locked --package servelab-cli --features torture --test it pin::torture -- --nocapture --test-threads=1
	$(CARGO) test --release --locked --package servelab-pin --features torture -- --nocapture

torture-find-max: ## planted highest loads, each searched 100 times in virtual time (a minute once it is built)
	$(CARGO) test --release --locked --package servelab-bench --features torture find_max -- --nocapture

torture-verify: ## 4000 flipped bits, each found and its file named, and bytes of chance in every file (minutes)
	$(CARGO) test --release --locked --package servelab-verify --features torture --test it -- --nocapture

# What cargo-fuzz would hand to the compiler; libFuzzer itself is built by libfuzzer-sys.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_SECONDS ?= 600

torture-fuzz: ## libFuzzer on the verifier, ten minutes or FUZZ_SECONDS (needs a nightly compiler and g++)
	cd crates/verify/fuzz && RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) +nightly run --release --target x86_64-unknown-linux-gnu -- \
		../tests/corpus -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=20 -rss_limit_mb=1024

deny: ## licences and sources of the dependencies (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources

torture: $(PROMPTS) ## what takes longer than a test may: all counts in full, every prompt recounted, the full study (hours; an idle machine, root)
	$(CARGO) test --workspace --locked --release --quiet
	$(MAKE) torture-verify torture-fuzz torture-kill torture-disk torture-resume torture-rerun
	$(MAKE) torture-compare torture-find-max torture-starvation
	$(BIN) dataset verify prompts/l4-1800.jsonl --rebuild
	$(MAKE) matrix report

formats: $(BIN) ## docs/FORMATS.md from the types
	$(BIN) formats > docs/FORMATS.md

clean: ## what was built, not what was measured
	$(CARGO) clean
	rm -rf report/out prompts/*.jsonl prompts/*.manifest.json
