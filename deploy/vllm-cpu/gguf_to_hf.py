"""A llama-architecture GGUF file to a Hugging Face checkpoint: config, weights, tokenizer and chat template.

usage: gguf_to_hf.py MODEL.gguf OUTPUT_DIRECTORY

Enough of the format for SmolLM2; anything that is not a llama architecture with a byte-level BPE tokenizer is refused.
"""

import json
import pathlib
import sys

import numpy
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYER_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONTROL_TOKEN = 3  # of tokenizer.ggml.token_type


def main(source, target):
    reader = GGUFReader(source)
    field = lambda name: reader.fields[name].contents() if name in reader.fields else None
    architecture = field("general.architecture")
    if architecture != "llama" or field("tokenizer.ggml.model") != "gpt2":
        sys.exit(f"{source}: architecture {architecture}, tokenizer {field('tokenizer.ggml.model')}: want llama and gpt2")
    heads = field("llama.attention.head_count")
    kv_heads = field("llama.attention.head_count_kv")
    weights = {}
    for tensor in reader.tensors:
        name = tensor.name.removesuffix(".weight")
        values = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float16)
        if name in WHOLE:
            name = WHOLE[name]
        else:
            _, layer, part = name.split(".")
            if part in ("attn_q", "attn_k"):
                values = without_rotary_order(values, heads if part == "attn_q" else kv_heads)
            name = f"model.layers.{layer}.{LAYER_PARTS[part]}"
        weights[f"{name}.weight"] = numpy.ascontiguousarray(values)

    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    context = field("llama.context_length")
    special = {f"{kind}_token_id": field(f"tokenizer.ggml.{key}_token_id") for kind, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    write(target / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": context,
        "rms_norm_eps": float(field("llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": float(field("llama.rope.freq_base") or 10000.0),
        "vocab_size": weights["model.embed_tokens.weight"].shape[0],
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float16",
        **special,
    })
    write(target / "generation_config.json", special)
    tokens = field("tokenizer.ggml.tokens")
    write_tokenizer(target, tokens, field("tokenizer.ggml.merges"), field("tokenizer.ggml.token_type"))
    write(target / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[special["bos_token_id"]],
        "eos_token": tokens[special["eos_token_id"]],
        "chat_template": field("tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    })


def without_rotary_order(weight, heads):
    """llama.cpp stores the rows of a head as pairs that rotate together; Hugging Face as two halves."""
    rows = weight.shape[0] // heads // 2
    return weight.reshape(heads, rows, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_tokenizer(target, tokens, merges, types):
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(str(target / "tokenizer.json"))


def write(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
