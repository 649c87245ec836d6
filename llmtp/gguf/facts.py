"""What the metadata of a Gemma 4 model or assistant says, typed and checked.

Keys as llama.cpp reads them (src/models/gemma4.cpp, gemma4-assistant.cpp, llama-arch.cpp).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from llmtp.errors import BadFileError
from llmtp.gguf.files import ModelFile
from llmtp.gguf.kind import Kind, kind_of
from llmtp.gguf.layout import find_faults
from llmtp.gguf.model import ModelFacts, TensorBytes, TensorFault
from llmtp.gguf.origin import has_parent, named_in
from llmtp.gguf.reader import SkippedArray, TensorInfo
from llmtp.gguf.shape import TextModel
from llmtp.gguf.types import ValueType
from llmtp.text import clean

TOKENS = "tokenizer.ggml.tokens"
_MAX_LAYERS = 1024
_MAX_EXPERTS, _MAX_EXPERTS_USED = 1024, 32
_REPACKED, _REPACKED_ROWS = {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}, 8
_PROJECTION = "mm.input_projection.weight"


def read_facts(model: ModelFile) -> ModelFacts:
    """Facts of an opened model; raises BadFileError where its metadata is impossible."""
    metadata = model.headers[0].metadata
    tensors = model.tensors
    keys = _Keys(metadata, clean(str(model.path), 300))
    architecture = keys.text("general.architecture")
    kind = kind_of(metadata, architecture, has_tensors=bool(tensors))
    tokens = metadata.get(TOKENS)
    if not isinstance(tokens, SkippedArray) or tokens.element_type is not ValueType.STRING:
        tokens = None
    text: TextModel | None = None
    faults: tuple[TensorFault, ...] = ()
    if architecture is not None and kind in (Kind.MAIN, Kind.ASSISTANT):
        text = _text_model(keys, architecture)
        if tokens is None:
            raise keys.wrong(TOKENS, "an array of texts", metadata.get(TOKENS))
        faults = find_faults(text, kind, tokens.count, tensors)
    return ModelFacts(
        path=model.path,
        kind=kind,
        architecture=_shown(architecture),
        name=_shown(keys.text("general.name")),
        size_label=_shown(keys.text("general.size_label")),
        quant=_quant(tensors),
        file_bytes=model.file_bytes,
        vocabulary_size=tokens.count if tokens else None,
        tokens_digest=tokens.digest if tokens else None,
        tensor_bytes=TensorBytes({tensor.name: tensor.n_bytes for tensor in tensors}),
        text=text,
        target_width=_target_width(metadata, architecture, kind, tensors),
        names=named_in(metadata),
        names_parent=has_parent(metadata),
        chats="tokenizer.chat_template" in metadata,
        faults=faults,
        repackable_bytes=_repackable_bytes(tensors),
    )


def _target_width(
    metadata: dict[str, Any], architecture: str | None, kind: Kind, tensors: list[TensorInfo]
) -> int | None:
    """Hidden size of the model that a drafter or projector was made for, also in forks' formats.

    Of a projector the engine believes its last matrix (clip.cpp, clip_n_mmproj_embd).
    """
    if kind is Kind.MMPROJ:
        last = (tensor.shape for tensor in tensors if tensor.name == _PROJECTION)
        return next((shape[1] for shape in last if len(shape) == 2), None)
    value = metadata.get(f"{architecture}.embedding_length_out")
    return value if isinstance(value, int) and value > 0 else None


def _text_model(keys: _Keys, arch: str) -> TextModel:
    keys.prefix = arch + "."
    n_layers = keys.count("block_count", high=_MAX_LAYERS)
    n_experts = keys.count("expert_count", low=0, high=_MAX_EXPERTS, default=0)
    return TextModel(
        n_layers=n_layers,
        width=keys.count("embedding_length"),
        feed_forward=keys.per_layer("feed_forward_length", n_layers),
        n_heads=keys.per_layer("attention.head_count", n_layers),
        kv_heads=keys.per_layer("attention.head_count_kv", n_layers),
        sliding=keys.flags("attention.sliding_window_pattern", n_layers),
        head_full=keys.count("attention.key_length"),
        head_sliding=keys.count("attention.key_length_swa"),
        value_full=keys.count("attention.value_length"),
        value_sliding=keys.count("attention.value_length_swa"),
        window=keys.count("attention.sliding_window"),
        shared_kv_layers=keys.count("attention.shared_kv_layers", low=0, high=n_layers, default=0),
        per_layer_width=keys.count("embedding_length_per_layer_input", low=0, default=0),
        n_experts=n_experts,
        n_experts_used=n_experts
        and keys.count("expert_used_count", high=min(n_experts, _MAX_EXPERTS_USED)),
        expert_feed_forward=max(keys.per_layer("expert_feed_forward_length", n_layers, default=0)),
        context_train=keys.count("context_length"),
        rope_base=keys.real("rope.freq_base"),
        rope_base_sliding=keys.real("rope.freq_base_swa"),
        target_width=keys.count("embedding_length_out", default=0) or None,
        nextn_layers=keys.count("nextn_predict_layers", low=0, high=_MAX_LAYERS, default=0),
    )


class _Keys:
    """Typed look-ups that name the key when its value is missing or impossible."""

    def __init__(self, metadata: dict[str, Any], file: str) -> None:
        self._metadata = metadata
        self._file = file
        self.prefix = ""

    def wrong(self, key: str, expected: str, value: object) -> BadFileError:
        observed = "nothing" if value is None else clean(repr(value), 60)
        return BadFileError(
            f"{self._file} has {observed} as {self.prefix}{key}",
            rule="file-metadata",
            expected=expected,
            observed=observed,
            fix="download it again, or give another file",
        )

    def text(self, key: str) -> str | None:
        value = self._metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "a text", value)
        return value

    def real(self, key: str) -> float | None:
        value = self._metadata.get(self.prefix + key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.wrong(key, "a number", value)
        return value

    def count(
        self, key: str, *, low: int = 1, high: int = 1 << 31, default: int | None = None
    ) -> int:
        value = self._metadata.get(self.prefix + key, default)
        if value == default and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}", value)
        return value

    def per_layer(self, key: str, n_layers: int, default: int | None = None) -> tuple[int, ...]:
        """One value a layer, written as an array or, when all are equal, as a scalar."""
        value = self._metadata.get(self.prefix + key)
        if not isinstance(value, tuple):
            return (self.count(key, default=default),) * n_layers
        positive = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in value)
        if len(value) != n_layers or not positive:
            raise self.wrong(key, f"{n_layers} positive numbers", value)
        return value

    def flags(self, key: str, n_layers: int) -> tuple[bool, ...]:
        value = self._metadata.get(self.prefix + key)
        if not isinstance(value, tuple) or len(value) != n_layers:
            raise self.wrong(key, f"{n_layers} flags", value)
        return tuple(bool(v) for v in value)


def _repackable_bytes(tensors: list[TensorInfo]) -> int:
    """Of matrices that are multiplied, in types that have kernels for rows side by side, on x86
    with AVX2 (ggml-cpu/repack.cpp, ggml_repack_get_optimal_repack_type). Embeddings are multiplied
    where they are the output matrix too."""
    looked_up = {"per_layer_token_embd.weight"}
    if any(tensor.name == "output.weight" for tensor in tensors):
        looked_up.add("token_embd.weight")
    return sum(
        tensor.n_bytes
        for tensor in tensors
        if tensor.type.name in _REPACKED
        and len(tensor.shape) >= 2
        and tensor.shape[1] % _REPACKED_ROWS == 0
        and tensor.name not in looked_up
    )


def _quant(tensors: list[TensorInfo]) -> str | None:
    """The type that most weights of the layers have: what the file is, whatever it is called."""
    by_type: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.name.startswith("blk."):
            by_type[tensor.type.name] += math.prod(tensor.shape)
    return by_type.most_common(1)[0][0] if by_type else None


def _shown(text: str | None) -> str | None:
    return None if text is None else clean(text, 80)
