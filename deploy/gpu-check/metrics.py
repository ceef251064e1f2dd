"""The page `/metrics`, under vLLM's names. Written by the thread of the batch, read by the event loop: single numbers only."""

import time

FINISH_REASONS = ("stop", "length", "abort")
BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BLOCK_TOKENS = 16
STARTED = time.time()


class Histogram:
    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(BOUNDS_S) + 1), 0.0

    def add(self, seconds: float) -> None:
        at = next((i for i, bound in enumerate(BOUNDS_S) if seconds <= bound), len(BOUNDS_S))
        self.counts[at] += 1
        self.sum += seconds

    def lines(self, name: str, labels: str):
        below = 0
        for bound, count in zip((*BOUNDS_S, "+Inf"), self.counts):
            below += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
        yield f"{name}_sum{{{labels}}} {self.sum}"
        yield f"{name}_count{{{labels}}} {below}"


class Metrics:
    def __init__(self, model: str, slots: int, length: int):
        self.labels = f'engine="0",model_name="{model}"'
        self.blocks = slots * length // BLOCK_TOKENS
        self.prompt_tokens = self.generated_tokens = 0
        self.ended = dict.fromkeys(FINISH_REASONS, 0)
        self.ttft, self.itl, self.e2e = Histogram(), Histogram(), Histogram()

    def prompt(self, tokens: int) -> None:
        self.prompt_tokens += tokens

    def token(self, since_last: float | None, since_arrival: float) -> None:
        self.generated_tokens += 1
        if since_last is None:
            self.ttft.add(since_arrival)
        else:
            self.itl.add(since_last)

    def finished(self, reason: str, seconds: float) -> None:
        self.ended[reason] += 1
        self.e2e.add(seconds)

    def page(self, occupancy: tuple[int, int, float]) -> str:
        running, waiting, used = occupancy
        one = {
            "num_requests_running": running,
            "num_requests_waiting": waiting,
            "kv_cache_usage_perc": used,
            "num_preemptions_total": 0,
            # There is no prefix cache: nothing is looked up in it.
            "prefix_cache_queries_total": 0,
            "prefix_cache_hits_total": 0,
            "prompt_tokens_total": self.prompt_tokens,
            "generation_tokens_total": self.generated_tokens,
        }
        lines = [f"process_start_time_seconds {STARTED}"]
        lines += [f"vllm:{name}{{{self.labels}}} {value}" for name, value in one.items()]
        lines += [
            f'vllm:request_success_total{{{self.labels},finished_reason="{reason}"}} {count}' for reason, count in self.ended.items()
        ]
        cache = f'block_size="{BLOCK_TOKENS}",cache_dtype="auto",enable_prefix_caching="False",num_gpu_blocks="{self.blocks}"'
        lines.append(f'vllm:cache_config_info{{{cache},engine="0"}} 1.0')
        for name, histogram in (
            ("time_to_first_token_seconds", self.ttft),
            ("inter_token_latency_seconds", self.itl),
            ("e2e_request_latency_seconds", self.e2e),
        ):
            lines += histogram.lines(f"vllm:{name}", self.labels)
        return "\n".join(lines) + "\n"
