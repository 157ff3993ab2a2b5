"""A model's file for tests: a llama of 200 KB with random weights, which says nonsense at thousands of tokens a second.

The one rule: it is made here, from a seed, and is valid for the engine; nothing is fetched.
"""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import gguf
import numpy as np

WIDTH, INNER, HEADS, LAYERS = 64, 128, 2, 1
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
BYTES = [b"<0x%02X>" % byte for byte in range(256)]
VOCABULARY = [b"<unk>", b"<s>", b"</s>", *BYTES, b"\xe2\x96\x81", *(bytes([letter]) for letter in range(97, 123))]
KINDS = [2, 3, 3, *[6] * 256, *[1] * 27]
"""Unknown, control, control, bytes, and pieces of text."""


@cache
def model(context: int = 4096) -> Path:
    """The file, made once a process. context: what its maker says that it can take."""
    path = Path(mkdtemp(prefix="agent-ws-tiny-")) / "tiny.gguf"
    file: Any = cast("Any", gguf).GGUFWriter(path, "llama")
    file.add_context_length(context)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_vocab_size(len(VOCABULARY))
    file.add_tokenizer_model("llama")
    file.add_token_list(VOCABULARY)
    file.add_token_scores([0.0] * len(VOCABULARY))
    file.add_token_types(KINDS)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_chat_template(TEMPLATE)
    random = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> None:
        file.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.1).astype(np.float32))

    def ones(name: str) -> None:
        file.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    weights("token_embd", len(VOCABULARY), WIDTH)
    weights("output", len(VOCABULARY), WIDTH)
    ones("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm")
        ones(f"{block}.ffn_norm")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"{block}.{name}", WIDTH, WIDTH)
        weights(f"{block}.ffn_gate", INNER, WIDTH)
        weights(f"{block}.ffn_up", INNER, WIDTH)
        weights(f"{block}.ffn_down", WIDTH, INNER)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
