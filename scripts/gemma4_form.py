"""What the files of both pairs have in common with every Gemma 4 file: tokens, and heads."""

from __future__ import annotations

PAD, EOS, BOS, UNK, MASK = range(5)
CONTROL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
USER_DEFINED_TOKENS = ["<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
                       "<|channel>", "<channel|>"]  # fmt: skip
TURN, END_OF_TURN = "<|turn>", "<turn|>"
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
#: What begins every vocabulary, in this order.
FIXED_TOKENS = [*CONTROL_TOKENS, *USER_DEFINED_TOKENS, TURN, END_OF_TURN, *BYTE_TOKENS]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
#: Of these tokens, as GGUF numbers it; all others are NORMAL.
KINDS = {
    **dict.fromkeys((*CONTROL_TOKENS, TURN, END_OF_TURN), CONTROL),
    **dict.fromkeys(USER_DEFINED_TOKENS, USER_DEFINED),
    **dict.fromkeys(BYTE_TOKENS, BYTE),
}

CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' -}}"
    "{{- message['content'] -}}"
    "{{- '<turn|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|turn>model\\n' -}}{%- endif -%}"
)


def head_sizes(full: int, sliding: int, window: int) -> dict[str, int]:
    """Metadata of heads, in elements, and of the window of sliding layers, in tokens."""
    return {
        "attention.key_length": full,
        "attention.value_length": full,
        "attention.key_length_swa": sliding,
        "attention.value_length_swa": sliding,
        "attention.sliding_window": window,
        "rope.dimension_count": full,
        "rope.dimension_count_swa": sliding,
        "embedding_length_per_layer_input": 0,
    }
