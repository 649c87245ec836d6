"""Pairs as their makers published them, where no header can be read: good for a plan, no more.

Shapes are those of the published configurations, so that KV is exact. The sizes of files follow
from the bits a weight that quantisers spend: within a few percent of the files that were reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmtp.errors import Finding, LlmtpError, NotFoundError
from llmtp.gguf.kind import ASSISTANT, MAIN, Kind
from llmtp.gguf.model import ModelFacts, TensorBytes
from llmtp.gguf.shape import TextModel
from llmtp.gguf.weights import estimate_tensor_bytes
from llmtp.hub.choose import quant_tag
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.offers import QAT, Offer, split_quant
from llmtp.hub.reference import Asked, Reference, is_source
from llmtp.profiles import Profile, load_profile
from llmtp.published import PublishedShape
from llmtp.text import clean

#: Why a header may not be had although nothing is wrong with what was asked for.
OUT_OF_REACH = {"not-on-disk", "offline", "hub-unreachable"}
TOKENS = 262_144
_HEAD_SLIDING, _HEAD_FULL = 256, 512
_DRAFT_LAYERS = 4
_ONE_TOKENIZER = "published"
#: Bits a weight by the beginning of a quant's tag: of layers, and of embeddings, which smaller
#: quants keep at six bits.
_BITS = {"Q4_0": (4.5, 6.6), "IQ4": (4.4, 6.6), "Q3": (4.0, 6.6), "Q4": (4.9, 6.6),
         "Q5": (5.7, 6.6), "Q6": (6.6, 6.6), "Q8": (8.5, 8.5)}  # fmt: skip
_KNOWN_TAG = re.compile("|".join(_BITS))
_QAT_QUANT = "Q4_0"
#: Drafters are of one type in all their matrices, embeddings too.
_DRAFT_BITS, _QAT_DRAFT_BITS = 8.5, 4.5


def published_catalogue(asked: Asked, error: LlmtpError) -> PublishedCatalogue | None:
    """What can be planned all the same after that error; None where it is about something else."""
    if error.findings[0].rule not in OUT_OF_REACH or is_source(asked.model):
        return None
    profile = load_profile(asked.model)
    beside = asked.draft in ("auto", "off") and asked.mmproj == "off"
    if profile.shape is None or not beside:
        return None
    return PublishedCatalogue(asked, profile, profile.shape, str(error))


@dataclass
class PublishedCatalogue:
    """The pairs of a profile, without a file: what stands in for its Catalogue in a plan."""

    asked: Asked
    profile: Profile
    shape: PublishedShape
    why: str
    offline = False

    def offers(self) -> Iterator[Offer]:
        """One a quant, best quality first; raises NotFoundError where none is as asked for."""
        wants_qat, wanted = split_quant(self.asked.quant)
        seen = set()
        for source in self.profile.sources:
            for tag in source.quants if source.qat or not wants_qat else ():
                label = f"{QAT}-{tag}" if source.qat else tag
                fits = wanted is None or wanted.upper() == tag.upper()
                if fits and label not in seen and _bits(tag, qat=source.qat):
                    seen.add(label)
                    name = f"{self.profile.name}-{tag}.gguf"
                    size = self._main(Path(name), tag, qat=source.qat).file_bytes
                    files = (HubFile(name, size, None),)
                    yield Offer(label, Repository(source.repository, "", files, ""), name,
                                source.qat)  # fmt: skip
        if not seen:
            quant = clean(self.asked.quant or "no quant", 60)
            raise NotFoundError(
                f"{quant} of {self.profile.name} cannot be planned without its header",
                rule="quant-not-found",
                fix="leave out --quant, or type it again where there is a network",
            )

    def pair(self, offer: Offer) -> Reference:
        """An offer with the drafter of its family."""
        folder, qat = Path(f"hf:{offer.repository.name.repo_id}"), bool(offer.qat)
        tag = quant_tag(offer.name) or ""
        main = self._main(folder / offer.name, tag, qat=qat)
        draft = None
        if self.asked.draft != "off":
            path = folder / f"mtp-{self.profile.name}.gguf"
            draft = self._draft(path, qat=qat)
        finding = Finding(
            "published-shape",
            "warning",
            f"no header was read: {self.why}",
            expected="the header of each file",
            observed="the published shape, and sizes of files that are estimates",
            fix="type it again without --offline (or unset HF_HUB_OFFLINE)"
            if self.asked.offline
            else "type it again when the Hub can be reached",
        )
        return Reference(self.profile.name, main, draft, self.profile, findings=(finding,))

    def with_smaller_drafter(self, _offer: Offer, _reference: Reference) -> Reference | None:
        """It knows one of each family."""
        return None

    def _main(self, path: Path, tag: str, *, qat: bool) -> ModelFacts:
        bits = _bits(tag, qat=qat)
        if bits is None:
            raise ValueError(f"nobody estimated {tag}")
        shape = _main_shape(self.shape)
        tensors = estimate_tensor_bytes(shape, TOKENS, *bits, full_values=self.shape.full_values)
        return _facts(path, Kind.MAIN, MAIN, shape, _QAT_QUANT if qat else tag, tensors)

    def _draft(self, path: Path, *, qat: bool) -> ModelFacts:
        bits = _QAT_DRAFT_BITS if qat else _DRAFT_BITS
        shape = _draft_shape(self.shape)
        tensors = estimate_tensor_bytes(shape, TOKENS, bits, bits, full_values=False)
        quant = _QAT_QUANT if qat else "Q8_0"
        return _facts(path, Kind.ASSISTANT, ASSISTANT, shape, quant, tensors)


def published_facts(
    shape: PublishedShape, kind: Kind, architecture: str, path: Path, quant: str, bits: float
) -> ModelFacts:
    """Of a main model or its drafter, at so many bits a weight; embeddings keep 16."""
    text = _main_shape(shape) if kind is Kind.MAIN else _draft_shape(shape)
    values = shape.full_values and kind is Kind.MAIN
    tensors = estimate_tensor_bytes(text, TOKENS, bits, max(bits, 16.0), full_values=values)
    return _facts(path, kind, architecture, text, quant, tensors)


def _facts(
    path: Path, kind: Kind, architecture: str, shape: TextModel, quant: str, tensors: TensorBytes
) -> ModelFacts:
    return ModelFacts(
        path=path,
        kind=kind,
        architecture=architecture,
        name=None,
        size_label=None,
        quant=quant,
        file_bytes=tensors.total,
        vocabulary_size=TOKENS,
        tokens_digest=_ONE_TOKENIZER,
        tensor_bytes=tensors,
        text=shape,
        target_width=shape.target_width,
        names=(),
        names_parent=False,
        chats=True,
        faults=(),
        is_published=True,
    )


def _bits(tag: str, *, qat: bool) -> tuple[float, float] | None:
    """Of layers and embeddings; None for a tag that nobody estimated. All of QAT is Q4_0."""
    known = _KNOWN_TAG.match(_QAT_QUANT if qat else tag.upper().removeprefix("UD-"))
    return _BITS[known[0]] if known else None


def _main_shape(shape: PublishedShape) -> TextModel:
    every = shape.full_every
    wide = 2 if shape.shared_wide else 1
    shared = range(shape.layers - shape.shared_kv, shape.layers)
    return _text_model(
        shape,
        width=shape.width,
        heads=shape.heads,
        sliding=tuple(i % every != every - 1 for i in range(shape.layers)),
        feed_forward=tuple(
            shape.feed_forward * (wide if i in shared else 1) for i in range(shape.layers)
        ),
    )


def _draft_shape(shape: PublishedShape) -> TextModel:
    draft = _text_model(
        shape,
        width=shape.draft_width,
        heads=shape.draft_heads,
        sliding=(True,) * (_DRAFT_LAYERS - 1) + (False,),
        feed_forward=(shape.draft_feed_forward,) * _DRAFT_LAYERS,
    )
    return replace(
        draft,
        shared_kv_layers=_DRAFT_LAYERS,
        per_layer_width=0,
        n_experts=0,
        n_experts_used=0,
        expert_feed_forward=0,
        target_width=shape.width,
        nextn_layers=_DRAFT_LAYERS,
    )


def _text_model(
    shape: PublishedShape,
    *,
    width: int,
    heads: int,
    sliding: tuple[bool, ...],
    feed_forward: tuple[int, ...],
) -> TextModel:
    return TextModel(
        n_layers=len(sliding),
        width=width,
        feed_forward=feed_forward,
        n_heads=(heads,) * len(sliding),
        kv_heads=tuple(shape.kv_heads if slides else shape.kv_heads_full for slides in sliding),
        sliding=sliding,
        head_full=_HEAD_FULL,
        head_sliding=_HEAD_SLIDING,
        value_full=_HEAD_FULL,
        value_sliding=_HEAD_SLIDING,
        window=shape.window,
        shared_kv_layers=shape.shared_kv,
        per_layer_width=shape.per_layer,
        n_experts=shape.experts,
        n_experts_used=shape.experts_used,
        expert_feed_forward=shape.expert_feed_forward,
        context_train=shape.context,
        rope_base=None,
        rope_base_sliding=None,
        target_width=None,
        nextn_layers=0,
    )
