"""An OpenAI-compatible streaming server with vLLM's wire behaviour over `model.py`, to check telemetry and pipeline on a real GPU.

It is no engine to be measured: it batches simply and reads its whole cache in every step. Prompts are counted by the tokenizer and chat
template that the prompts were packed with, so `usage.prompt_tokens` must equal the packed count.

What a flag does here is what the line `Initializing a V1 LLM engine (v…) with config: …` says, not what was asked: `--max-num-seqs`,
`--enforce-eager`, `--dtype`, `--max-model-len` and `--seed` take effect; the flags of `IGNORED` are accepted and do nothing, which a
sound pipeline must find out.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import jinja2
import tokenizers
import torch
from aiohttp import web

from batch import Batch, Request
from metrics import Metrics
from model import SHAPES, Model

VERSION = "0.32.0+gpu-check"
IGNORED = ("enable_chunked_prefill", "enable_prefix_caching")


def log(text: str) -> None:
    print(f"{time.strftime('INFO %m-%d %H:%M:%S')} [engine.py] {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    switch = argparse.BooleanOptionalAction
    p = argparse.ArgumentParser(prog="gpu-check")
    p.add_argument("model", choices=sorted(SHAPES), help="how large the model is")
    p.add_argument("--tokenizer", required=True, type=Path, help="folder of tokenizer.json and chat_template.jinja")
    p.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--served-model-name", default="gpu-check")
    p.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    p.add_argument("--max-model-len", type=int, default=1536)
    p.add_argument("--max-num-seqs", type=int, default=32)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--enforce-eager", action=switch, default=False)
    for name in IGNORED:
        p.add_argument("--" + name.replace("_", "-"), action=switch, default=False)
    args = p.parse_args()
    given = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if v != p.get_default(k)}
    log(f"non-default args: {given}")
    return args


class Prompts:
    """Messages to tokens, as Mistral's template says."""

    def __init__(self, folder: Path):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        special = json.loads((folder / "tokenizer_config.json").read_text())
        self.special = {name: special[name] for name in ("bos_token", "eos_token")}
        self.end = self.tokenizer.token_to_id(special["eos_token"])

        def refuse(text: str):
            raise jinja2.TemplateError(text)

        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = refuse
        self.template = environment.from_string((folder / "chat_template.jinja").read_text())

    def ids(self, messages: list[dict]) -> list[int]:
        text = self.template.render(messages=messages, add_generation_prompt=True, **self.special)
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def text(self, token: int) -> str:
        """The text of one token alone; that of a model with random weights need not join well."""
        piece = self.tokenizer.id_to_token(token) or ""
        return "" if piece.startswith("<0x") else piece.replace("\u2581", " ")


def error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "param": None, "code": status}}, status=status)


class Server:
    def __init__(self, args: argparse.Namespace, prompts: Prompts, batch: Batch, metrics: Metrics):
        self.args, self.prompts, self.batch, self.metrics = args, prompts, batch, metrics
        self.count = 0

    def routes(self) -> web.Application:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_get("/health", self.health)
        app.router.add_get("/version", self.version)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/metrics", self.page)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.batch.alive() else 503)

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    async def models(self, _request: web.Request) -> web.Response:
        name, length = self.args.served_model_name, self.args.max_model_len
        model = {"id": name, "object": "model", "owned_by": "gpu-check", "root": self.args.model, "max_model_len": length}
        return web.json_response({"object": "list", "data": [model]})

    async def page(self, _request: web.Request) -> web.Response:
        return web.Response(text=self.metrics.page(self.batch.occupancy()), content_type="text/plain")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        try:
            body = await request.json()
            messages, name = body["messages"], body["model"]
            most = int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
            ids = self.prompts.ids(messages)
        except (KeyError, TypeError, ValueError, jinja2.TemplateError) as e:
            return error(400, "BadRequestError", f"{type(e).__name__}: {e}")
        if name != self.args.served_model_name:
            return error(404, "NotFoundError", f"The model `{name}` does not exist.")
        length = self.args.max_model_len
        if most < 1 or len(ids) + most > length:
            return error(
                400,
                "BadRequestError",
                f"This model's maximum context length is {length} tokens. However, you requested {most} output tokens and your "
                f"prompt contains at least {len(ids)} input tokens.",
            )
        self.count += 1
        answer = Answer(f"chatcmpl-{os.getpid():x}{self.count:08x}", name, len(ids), body)
        end = None if body.get("ignore_eos") else self.prompts.end
        work = Request(ids, most, end, arrived, asyncio.Queue())
        self.batch.submit(work)
        try:
            return await (self.stream(request, work, answer) if body.get("stream") else self.whole(work, answer))
        finally:
            work.cancelled = True

    async def stream(self, request: web.Request, work: Request, answer: "Answer") -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(answer.chunk({"role": "assistant", "content": ""}, 0, None))
        done = 0
        while True:
            item = await work.out.get()
            if isinstance(item, Exception):
                await response.write(answer.broken(item))
                break
            token, reason = item
            done += 1
            await response.write(answer.chunk({"content": self.prompts.text(token)}, done, reason))
            if reason:
                await response.write(answer.last(done))
                break
        await response.write_eof()
        return response

    async def whole(self, work: Request, answer: "Answer") -> web.Response:
        text, done = "", 0
        while True:
            item = await work.out.get()
            if isinstance(item, Exception):
                return error(500, "InternalServerError", str(item))
            token, reason = item
            text, done = text + self.prompts.text(token), done + 1
            if reason:
                return web.json_response(answer.body(text, done, reason))


class Answer:
    """The JSON of one answer."""

    def __init__(self, name: str, model: str, prompt_tokens: int, body: dict):
        options = body.get("stream_options") or {}
        self.usage_at_all, self.usage_always = options.get("include_usage"), options.get("continuous_usage_stats")
        self.prompt_tokens = prompt_tokens
        self.frame = {"id": name, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def usage(self, done: int) -> dict:
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens + done, "completion_tokens": done}

    def event(self, value: dict) -> bytes:
        return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    def chunk(self, delta: dict, done: int, reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        always = {"usage": self.usage(done)} if self.usage_at_all and self.usage_always else {}
        return self.event({**self.frame, "choices": [choice], **always})

    def last(self, done: int) -> bytes:
        usage = self.event({**self.frame, "choices": [], "usage": self.usage(done)}) if self.usage_at_all else b""
        return usage + b"data: [DONE]\n\n"

    def broken(self, e: Exception) -> bytes:
        return self.event({"error": {"message": str(e), "type": "InternalServerError", "code": 500}}) + b"data: [DONE]\n\n"

    def body(self, text: str, done: int, reason: str) -> dict:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        return {**self.frame, "object": "chat.completion", "choices": [choice], "usage": self.usage(done)}


def effective(args: argparse.Namespace, graph: bool, model: Model) -> str:
    """What the engine runs with, in the words of vLLM's configuration line."""
    config = {
        "model": repr(args.model),
        "dtype": f"torch.{args.dtype}",
        "max_seq_len": args.max_model_len,
        "max_num_seqs": model.slots,
        "device_config": args.device,
        "enforce_eager": not graph,
        "kv_cache_dtype": "auto",
        "seed": args.seed,
        "served_model_name": args.served_model_name,
        **{name: False for name in IGNORED},
    }
    return ", ".join(f"{name}={value}" for name, value in config.items())


async def serve(server: Server) -> None:
    # What still streams then is cut: whoever ends the engine does not wait for it.
    runner = web.AppRunner(server.routes(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, server.args.host, server.args.port).start()
    log(f"serving on http://{server.args.host}:{server.args.port}")
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    # The thread of the batch dies with a message; a server without it must not look well.
    while not over.is_set() and server.batch.alive():
        try:
            await asyncio.wait_for(over.wait(), timeout=0.5)
        except TimeoutError:
            continue
    await runner.cleanup()


def main() -> int:
    args = arguments()
    if args.device == "cuda" and not torch.cuda.is_available():
        log("RuntimeError: no CUDA device; use --device cpu for a check without a GPU")
        return 1
    prompts = Prompts(args.tokenizer)
    graph = args.device == "cuda" and not args.enforce_eager
    dtype = getattr(torch, args.dtype)
    begin = time.monotonic()
    model = Model(SHAPES[args.model], args.device, dtype, args.max_num_seqs, args.max_model_len, args.seed, graph)
    # The first prompts and steps of a process set up its libraries.
    for length in (16, 256, args.max_model_len // 2):
        model.prefill(0, [1] * length)
    model.step([1] * model.slots, [0] * model.slots)
    log(f"Initializing a V1 LLM engine (v{VERSION}) with config: {effective(args, graph, model)}")
    log(f"GPU KV cache size: {model.slots * model.length:,} tokens")
    parameters = SHAPES[args.model].parameters()
    log(f"{parameters:,} parameters and {model.cache_bytes():,} bytes of cache are ready after {time.monotonic() - begin:.1f} s")

    async def run() -> None:
        metrics = Metrics(args.served_model_name, model.slots, model.length)
        batch = Batch(model, metrics, asyncio.get_running_loop(), log)
        batch.start()
        await serve(Server(args, prompts, batch, metrics))

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    # A thread inside CUDA is not waited for.
    code = main()
    sys.stderr.flush()
    os._exit(code)
