"""A Mistral-shaped decoder with random weights, and its batched greedy decoding.

Parts: `Shape` (how large), `Model` (weights and the KV cache, one slot a sequence), `Model.prefill` (one prompt into one slot) and
`Model.step` (one token for every slot, as a CUDA graph where there is one).

Traps: the cache is allocated whole, slots × longest length, and a step works on every slot, used or not, so that its shape never
changes and the graph can be replayed; a step costs the same for one sequence as for all. A free slot writes to its own position 0,
which the next prefill overwrites. The attention of a step reads the whole length of every slot.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

EPSILON = 1e-5
ROPE_THETA = 1e6


@dataclass(frozen=True)
class Shape:
    """Sizes of the decoder; the vocabulary is that of the Mistral v0.3 tokenizer."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int = 32_768

    def parameters(self) -> int:
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate) + 2 * self.vocabulary * self.hidden


SHAPES = {
    # 1.1 billion parameters: 2.2 GB in bfloat16.
    "1b": Shape(hidden=2048, layers=16, heads=16, kv_heads=4, head_dim=128, intermediate=8192),
    # For a machine without a GPU.
    "tiny": Shape(hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=128),
}


def norm(x: torch.Tensor) -> torch.Tensor:
    """RMS norm, computed in float32; its weights are all one."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)).to(x.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding; `x` is [rows, heads, head_dim], `cos` and `sin` are [rows, 1, head_dim / 2]."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class Model:
    """Weights, KV cache and the two ways through them. Used by one thread."""

    def __init__(self, shape: Shape, device: str, dtype: torch.dtype, slots: int, length: int, seed: int, graph: bool):
        self.shape, self.device, self.slots, self.length = shape, torch.device(device), slots, length
        source = torch.Generator(device=self.device).manual_seed(seed)

        def weight(rows: int, columns: int) -> torch.Tensor:
            # Unit variance through every layer keeps the logits apart.
            made = torch.empty(rows, columns, device=self.device, dtype=dtype)
            return made.normal_(0.0, columns**-0.5, generator=source)

        s = shape
        self.embedding = weight(s.vocabulary, s.hidden).mul_(s.hidden**0.5)
        self.head = weight(s.vocabulary, s.hidden)
        self.layers = [
            {
                "qkv": weight((s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden),
                "out": weight(s.hidden, s.heads * s.head_dim),
                "gate_up": weight(2 * s.intermediate, s.hidden),
                "down": weight(s.hidden, s.intermediate),
            }
            for _ in range(s.layers)
        ]
        cache = (s.layers, slots, s.kv_heads, length, s.head_dim)
        self.keys = torch.zeros(cache, device=self.device, dtype=dtype)
        self.values = torch.zeros(cache, device=self.device, dtype=dtype)
        half = torch.arange(0, s.head_dim, 2, device=self.device, dtype=torch.float32) / s.head_dim
        angle = torch.outer(torch.arange(length, device=self.device, dtype=torch.float32), ROPE_THETA**-half)
        self.cos, self.sin = angle.cos(), angle.sin()

        # What a step reads and writes, at fixed addresses.
        self.rows = torch.arange(slots, device=self.device)
        self.places = torch.arange(length, device=self.device)
        self.tokens = torch.zeros(slots, device=self.device, dtype=torch.long)
        self.positions = torch.zeros(slots, device=self.device, dtype=torch.long)
        self.next_tokens = torch.zeros(slots, device=self.device, dtype=torch.long)
        self.graph = self._capture() if graph else None

    def cache_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def _projected(self, layer: dict, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor):
        s = self.shape
        qkv = F.linear(norm(x), layer["qkv"]).view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
        q, k, v = qkv.split((s.heads, s.kv_heads, s.kv_heads), dim=1)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    @staticmethod
    def _rest(layer: dict, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        x = x + F.linear(attended, layer["out"])
        gate, up = F.linear(norm(x), layer["gate_up"]).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, layer["down"])

    @torch.inference_mode()
    def prefill(self, slot: int, ids: list[int]) -> int:
        """Computes a whole prompt into `slot` and gives its first answer token."""
        s, n = self.shape, len(ids)
        x = F.embedding(torch.tensor(ids, device=self.device), self.embedding)
        cos, sin = self.cos[:n].unsqueeze(1), self.sin[:n].unsqueeze(1)
        for i, layer in enumerate(self.layers):
            q, k, v = self._projected(layer, x, cos, sin)
            k, v = k.transpose(0, 1), v.transpose(0, 1)
            self.keys[i, slot, :, :n], self.values[i, slot, :, :n] = k, v
            groups = s.heads // s.kv_heads
            wide = (t.repeat_interleave(groups, dim=0).unsqueeze(0) for t in (k, v))
            attended = F.scaled_dot_product_attention(q.transpose(0, 1).unsqueeze(0), *wide, is_causal=True)
            x = self._rest(layer, x, attended[0].transpose(0, 1).reshape(n, -1))
        return int(F.linear(norm(x[-1:]), self.head).argmax(-1))

    @torch.inference_mode()
    def step(self, tokens: list[int], positions: list[int]) -> list[int]:
        """The next token of every slot, given its last one and that one's position."""
        self.tokens.copy_(torch.tensor(tokens))
        self.positions.copy_(torch.tensor(positions))
        if self.graph is None:
            self._decode()
        else:
            self.graph.replay()
        return self.next_tokens.tolist()

    def _decode(self) -> None:
        s, groups = self.shape, self.shape.heads // self.shape.kv_heads
        x = F.embedding(self.tokens, self.embedding)
        cos, sin = self.cos[self.positions].unsqueeze(1), self.sin[self.positions].unsqueeze(1)
        hidden = (self.places.unsqueeze(0) > self.positions.unsqueeze(1)).view(self.slots, 1, 1, self.length)
        for i, layer in enumerate(self.layers):
            q, k, v = self._projected(layer, x, cos, sin)
            keys, values = self.keys[i], self.values[i]
            keys[self.rows, :, self.positions], values[self.rows, :, self.positions] = k, v
            q = q.view(self.slots, s.kv_heads, groups, s.head_dim)
            scores = (q @ keys.transpose(-1, -2)).float() * s.head_dim**-0.5
            shares = scores.masked_fill(hidden, float("-inf")).softmax(-1).to(x.dtype)
            x = self._rest(layer, x, (shares @ values).reshape(self.slots, -1))
        self.next_tokens.copy_(F.linear(norm(x), self.head).argmax(-1))

    @torch.inference_mode()
    def _capture(self) -> "torch.cuda.CUDAGraph":
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._decode()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._decode()
        return graph
