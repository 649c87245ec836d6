"""What the config.json of a Gemma 4 model or assistant says, typed and checked, as for GGUF files.

Names as transformers reads them (models/gemma4, gemma4_assistant, and their unified twins). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmtp.errors import BadFileError
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts, TensorBytes
from llmtp.gguf.shape import TextModel
from llmtp.gguf.weights import estimate_tensor_bytes
from llmtp.text import clean
from llmtp.told import number

MOST_BYTES = 1 << 20
NO_TENSORS = TensorBytes({})
#: With what sees or hears around the text model, where it stands below `text_config`.
WITH_IMAGES = ("gemma4", "gemma4_unified")
_MAIN = (*WITH_IMAGES, "gemma4_text", "gemma4_unified_text")
_ASSISTANT = ("gemma4_assistant", "gemma4_unified_assistant")
_MOST_LAYERS, _MOST = 1024, 1 << 24
#: vLLM drafts with the tokenizer of the main model, so no token list of a drafter counts.
_ONE_TOKENIZER = "config.json"
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_BITS = {"BF16": 16.0, "F16": 16.0, "F32": 32.0}
#: Groups of weights with a scale each, and embeddings that stay as they were.
_SCALES_BITS, _EMBEDDING_BITS = 0.25, 16.0


def parse_config(text: str, path: Path, file_bytes: int) -> ModelFacts:
    """Facts of the model in the folder or repository at `path`, whose weights take `file_bytes`.

    Raises BadFileError for what is no configuration, or an impossible one.
    """
    config = _Section(_object(text, path), path)
    model_type = config.text("model_type") or ""
    kind = Kind.OTHER
    if model_type in _MAIN:
        kind = Kind.MAIN
    elif model_type in _ASSISTANT:
        kind = Kind.ASSISTANT
    quant, bits = _quant(config)
    shape, vocabulary, full_values = None, None, False
    if kind is not Kind.OTHER:
        inner = config.section("text_config") or config
        shape = _shape(inner, config, kind)
        vocabulary = inner.count("vocab_size")
        full_values = not inner.flag("attention_k_eq_v")
    tensors = None
    if shape is not None and vocabulary is not None:
        tensors = estimate_tensor_bytes(
            shape, vocabulary, bits, max(bits, _EMBEDDING_BITS), full_values=full_values
        )
    return ModelFacts(
        path=path,
        kind=kind,
        architecture=clean(model_type, 80) or None,
        name=None,
        size_label=None,
        quant=quant,
        file_bytes=file_bytes,
        vocabulary_size=vocabulary,
        tokens_digest=_ONE_TOKENIZER,
        tensor_bytes=tensors or NO_TENSORS,
        text=shape,
        target_width=shape.target_width if shape else None,
        names=(),
        names_parent=False,
        chats=True,
        faults=(),
    )


def _object(text: str, path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise _wrong(path, "is no JSON object")
    return config


def _quant(config: _Section) -> tuple[str | None, float]:
    """What the weights are, in a word, and bits a weight."""
    quantised = config.section("quantization_config")
    if quantised is not None:
        bits = quantised.weight_bits()
        if bits is not None:
            return f"W{bits}", bits + _SCALES_BITS
    inner = config.section("text_config")
    for section in (config, inner):
        for name in ("dtype", "torch_dtype"):
            known = _DTYPES.get((section.text(name) or "") if section else "")
            if known is not None:
                return known, _BITS[known]
    return None, _BITS["BF16"]


def _shape(text: _Section, config: _Section, kind: Kind) -> TextModel:
    n_layers = text.count("num_hidden_layers", most=_MOST_LAYERS)
    sliding = text.sliding(n_layers)
    heads, kv_heads = text.count("num_attention_heads"), text.count("num_key_value_heads")
    head = text.count("head_dim")
    full_kv_heads, full_head = kv_heads, text.count("global_head_dim", default=head)
    if text.flag("attention_k_eq_v"):
        full_kv_heads = text.count("num_global_key_value_heads", default=kv_heads)
    by_layer = text.layers()
    of_full = next((by_layer[i] for i in by_layer if i < n_layers and not sliding[i]), None)
    if of_full is not None:
        full_head = of_full.count("head_dim", default=full_head)
        full_kv_heads = of_full.count("num_key_value_heads", default=full_kv_heads)
    shared = text.count("num_kv_shared_layers", least=0, most=n_layers, default=0)
    wide = 2 if text.flag("use_double_wide_mlp") else 1
    feed_forward = text.count("intermediate_size")
    n_experts = text.count("num_experts", least=0, default=0)
    is_assistant = kind is Kind.ASSISTANT
    full_base, sliding_base = text.rope_bases()
    return TextModel(
        n_layers=n_layers,
        width=text.count("hidden_size"),
        feed_forward=tuple(
            feed_forward * (wide if i >= n_layers - shared else 1) for i in range(n_layers)
        ),
        n_heads=(heads,) * n_layers,
        kv_heads=tuple(kv_heads if slides else full_kv_heads for slides in sliding),
        sliding=sliding,
        head_full=full_head,
        head_sliding=head,
        value_full=full_head,
        value_sliding=head,
        window=text.count("sliding_window"),
        shared_kv_layers=n_layers if is_assistant else shared,
        per_layer_width=text.count("hidden_size_per_layer_input", least=0, default=0),
        n_experts=n_experts,
        n_experts_used=text.count("top_k_experts", most=n_experts) if n_experts else 0,
        expert_feed_forward=text.count("moe_intermediate_size") if n_experts else 0,
        context_train=text.count("max_position_embeddings"),
        rope_base=full_base,
        rope_base_sliding=sliding_base,
        target_width=config.count("backbone_hidden_size") if is_assistant else None,
        nextn_layers=n_layers if is_assistant else 0,
    )


class _Section:
    """One object of a configuration, whose values are of no use before they were checked."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        self._values = values
        self._path = path

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool:
        return self._values.get(name) is True

    def section(self, name: str) -> _Section | None:
        value = self._values.get(name)
        return _Section(value, self._path) if isinstance(value, dict) else None

    def count(
        self, name: str, *, least: int = 1, most: int = _MOST, default: int | None = None
    ) -> int:
        """A whole number; null and a name that is not there are the `default`."""
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}")
        return value

    def sliding(self, n_layers: int) -> tuple[bool, ...]:
        types = self._values.get("layer_types")
        known = {"sliding_attention": True, "full_attention": False}
        if not isinstance(types, list) or len(types) != n_layers:
            raise self._wrong("layer_types", f"a list of {n_layers} names")
        if not all(isinstance(one, str) and one in known for one in types):
            raise self._wrong("layer_types", " or ".join(known))
        return tuple(known[one] for one in types)

    def layers(self) -> dict[int, _Section]:
        """What single layers have otherwise, by their number."""
        values = self._values.get("per_layer_config")
        pairs = values.items() if isinstance(values, dict) else ()
        return {
            int(name): _Section(one, self._path)
            for name, one in pairs
            if name.isdecimal() and len(name) < 5 and isinstance(one, dict)
        }

    def rope_bases(self) -> tuple[float | None, float | None]:
        """Of full and of sliding layers."""
        parameters = self.section("rope_parameters")
        found = []
        for name in ("full_attention", "sliding_attention"):
            of_type = parameters.section(name) if parameters else None
            base = of_type._values.get("rope_theta") if of_type else None
            found.append(number(base))
        return found[0], found[1]

    def weight_bits(self) -> int | None:
        """As llm-compressor and others write it."""
        groups = self.section("config_groups")
        firsts = (
            [group for group in groups._values.values() if isinstance(group, dict)]
            if groups
            else []
        )
        places = [self._values, *(group.get("weights") for group in firsts)]
        for place in places:
            for name in ("num_bits", "bits"):
                bits = place.get(name) if isinstance(place, dict) else None
                if isinstance(bits, int) and not isinstance(bits, bool) and 1 <= bits <= 16:
                    return bits
        return None

    def _wrong(self, name: str, expected: str) -> BadFileError:
        value = self._values.get(name)
        shown = "is missing" if value is None else f"is {clean(repr(value), 80)}"
        return _wrong(self._path, f"cannot be: {name} {shown}", expected)


def _wrong(path: Path, what: str, expected: str | None = None) -> BadFileError:
    return BadFileError(
        f"the config.json of {clean(str(path), 300)} {what}",
        rule="config-json",
        expected=expected,
        fix="get the model anew from its makers",
    )
