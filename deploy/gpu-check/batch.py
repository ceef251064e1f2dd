"""Continuous batching: requests enter a free slot between two steps and leave it with their last token.

One thread owns the model. Tokens go to the event loop in one call a step, since each call costs both threads the interpreter's lock.
"""

import asyncio
import collections
import threading
import time
from dataclasses import dataclass, field
from typing import Callable

from metrics import Metrics
from model import Model

# Prompts that are computed between two steps: more would let running streams wait.
ADMITTED_AT_ONCE = 4


@dataclass
class Request:
    """One prompt; `out` receives (token, finish reason or None), or an exception."""

    ids: list[int]
    most: int
    end: int | None
    arrived: float
    out: asyncio.Queue
    cancelled: bool = False
    done: int = 0
    last_token: int = 0
    last_at: float = field(default=0.0)

    def position(self) -> int:
        """Where the last token stands in the sequence."""
        return len(self.ids) + self.done - 1


class Batch:
    def __init__(self, model: Model, metrics: Metrics, loop: asyncio.AbstractEventLoop, log: Callable[[str], None]):
        self.model, self.metrics, self.loop, self.log = model, metrics, loop, log
        self.slots: list[Request | None] = [None] * model.slots
        self.waiting: collections.deque[Request] = collections.deque()
        self.wake = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def alive(self) -> bool:
        return self.thread.is_alive()

    def submit(self, request: Request) -> None:
        with self.wake:
            self.waiting.append(request)
            self.wake.notify()

    def occupancy(self) -> tuple[int, int, float]:
        """Running, waiting, and the share of the cache in use."""
        running = [r for r in self.slots if r]
        used = sum(r.position() + 1 for r in running)
        return len(running), len(self.waiting), used / (self.model.slots * self.model.length)

    def _run(self) -> None:
        try:
            while True:
                out = self._admit()
                out += self._step()
                if out:
                    self.loop.call_soon_threadsafe(self._deliver, out)
        except Exception as e:
            self.log(f"ERROR {type(e).__name__}: {e}")
            lost = [(r, e) for r in (*self.slots, *self.waiting) if r]
            self.loop.call_soon_threadsafe(self._deliver, lost)
            raise

    @staticmethod
    def _deliver(out: list) -> None:
        for request, item in out:
            request.out.put_nowait(item)

    def _admit(self) -> list:
        """Fills free slots; waits where there is nothing to do at all."""
        with self.wake:
            while not self.waiting and not any(self.slots):
                self.wake.wait()
        out = []
        for slot, held in enumerate(self.slots):
            if held is not None or not self.waiting or len(out) == ADMITTED_AT_ONCE:
                continue
            request = self.waiting.popleft()
            if request.cancelled:
                continue
            self.slots[slot] = request
            self.metrics.prompt(len(request.ids))
            out.append(self._take(slot, self.model.prefill(slot, request.ids)))
        return out

    def _step(self) -> list:
        for slot, request in enumerate(self.slots):
            if request and request.cancelled:
                self.metrics.finished("abort", time.monotonic() - request.arrived)
                self.slots[slot] = None
        if not any(self.slots):
            return []
        tokens = [r.last_token if r else 0 for r in self.slots]
        positions = [r.position() if r else 0 for r in self.slots]
        made = self.model.step(tokens, positions)
        return [self._take(slot, made[slot]) for slot, request in enumerate(self.slots) if request]

    def _take(self, slot: int, token: int) -> tuple:
        """Books a token of the request in `slot`, which ends with it or stays."""
        request, now = self.slots[slot], time.monotonic()
        self.metrics.token(now - request.last_at if request.done else None, now - request.arrived)
        request.done, request.last_token, request.last_at = request.done + 1, token, now
        reason = "stop" if token == request.end else "length" if request.done == request.most else None
        if reason:
            self.metrics.finished(reason, now - request.arrived)
            self.slots[slot] = None
        return request, (token, reason)
