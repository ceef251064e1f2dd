"""A llama of two layers with random weights, and the tokenizer and chat template of another model.

usage: tiny_model.py TOKENIZER_DIRECTORY OUTPUT_DIRECTORY
"""

import pathlib
import shutil
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

if len(sys.argv) != 3:
    sys.exit(__doc__)
source, target = map(pathlib.Path, sys.argv[1:])
torch.manual_seed(1)
config = LlamaConfig(
    vocab_size=49152,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=4096,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=True,
)
LlamaForCausalLM(config).save_pretrained(target)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(source / name, target / name)
