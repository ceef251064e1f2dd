import json
import os
import sys
import time
from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    NONE = 0
    COMPILED = 3


@dataclass
class SchedulerConfig:
    max_num_batched_tokens: int
    enable_chunked_prefill: bool
    async_scheduling: bool


@dataclass
class CacheConfig:
    cache_dtype: str


@dataclass
class ModelConfig:
    model: str
    enforce_eager: bool
    quantization: str
    hf_token: str = "hf_notforanybodyseyes"


@dataclass
class CompilationConfig:
    mode: Mode


@dataclass
class SpeculativeConfig:
    method: str
    num_speculative_tokens: int
    draft: str = None


class Config:
    pass


class AsyncEngineArgs:
    """Holds what the engine itself is told: the front end's own flags are not among it."""

    def __init__(self, arguments):
        for name, value in vars(arguments).items():
            if name not in ("api_server_count", "api_key", "model_tag"):
                setattr(self, name, value)

    @classmethod
    def from_cli_args(cls, arguments):
        return cls(arguments)

    def create_engine_config(self, usage_context):
        print("noise on standard output while it is configured")
        sys.stderr.write("(MainProcess pid=1) WARNING 01-01 00:00:00 [fake.py:1] said to all\n")
        if self.quantization == "dies":
            os._exit(9)
        if self.quantization == "tells":
            sys.stderr.write("WARNING 01-01 [fake.py:3] api_key='" + os.environ["PLANTED_API_KEY"] + "'\n")
            raise ValueError("the key is " + os.environ["PLANTED_API_KEY"])
        if self.quantization == "hangs":
            time.sleep(3600)
        chunked = self.enable_chunked_prefill is not False
        if not chunked and self.max_num_batched_tokens < (self.max_model_len or 0):
            try:
                raise ValueError("1 validation error for SchedulerConfig\n  Value error, too few tokens [type=value_error]")
            except ValueError as error:
                raise RuntimeError("the configuration failed") from error
        if self.enforce_eager:
            sys.stderr.write("(MainProcess pid=1) WARNING 01-01 00:00:00 [fake.py:2] eager it is\n")
        config = Config()
        # This platform has no asynchronous scheduling, whatever is asked for.
        config.scheduler_config = SchedulerConfig(self.max_num_batched_tokens, chunked, False)
        config.cache_config = CacheConfig("fp8_e5m2" if self.kv_cache_dtype == "fp8" else self.kv_cache_dtype)
        config.model_config = ModelConfig(self.model, bool(self.enforce_eager), self.quantization)
        config.compilation_config = CompilationConfig(Mode.NONE if self.enforce_eager else Mode.COMPILED)
        config.speculative_config = None
        if self.speculative_config:
            asked = json.loads(self.speculative_config)
            config.speculative_config = SpeculativeConfig(asked["method"], asked["num_speculative_tokens"])
        return config
