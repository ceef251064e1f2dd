"""A LoRA adapter with random weights for a llama checkpoint, strong enough to change every answer.

usage: lora.py CHECKPOINT OUTPUT_DIRECTORY
"""

import json
import pathlib
import sys

import numpy
from safetensors.numpy import save_file

RANK = 8


def main(checkpoint, target):
    config = json.loads((pathlib.Path(checkpoint) / "config.json").read_text())
    hidden = config["hidden_size"]
    head = hidden // config["num_attention_heads"]
    outputs = {"q_proj": hidden, "v_proj": head * config["num_key_value_heads"]}
    random = numpy.random.default_rng(1)
    draw = lambda *shape: random.normal(0, 0.2, shape).astype(numpy.float32)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, width in outputs.items():
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{prefix}.lora_A.weight"] = draw(RANK, hidden)
            tensors[f"{prefix}.lora_B.weight"] = draw(width, RANK)
    target = pathlib.Path(target)
    target.mkdir(parents=True)
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    adapter = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(checkpoint),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(outputs),
    }
    (target / "adapter_config.json").write_text(json.dumps(adapter))


if __name__ == "__main__":
    main(*sys.argv[1:])
