"""Does this drafter belong to this main model? Facts of two files to findings; no I/O.

llama-server checks almost none of this: it aborts, or serves with a drafter that never hits. The
rules mirror the graph of gemma4-assistant and the KV sharing of llama.cpp (src/llama-model.cpp:
the drafter's full layers read the target's last layer, its sliding layers the one before).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmtp.errors import Finding
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.shape import TextModel
from llmtp.roles import check_draft_kind, check_main_kind, owner, shown
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.gguf.tokens import TokenDifference

#: Types of few bits, by what published sweeps lost: 4 to 5.5 points of acceptance on the 31B in
#: IQ2_M against Q5_K_S, and a drafter in Q4_0 at 51 percent where the one in Q8_0 had 82 (12B).
_LOSSY_MAIN = {"Q2_K", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0", "Q1_0",
               "Q2_0"}  # fmt: skip
_LOSSY_DRAFT = _LOSSY_MAIN | {"Q3_K", "IQ3_XXS", "IQ3_S", "Q4_0", "Q4_1"}


def check_pair(
    main: ModelFacts, draft: ModelFacts, difference: TokenDifference | None = None
) -> list[Finding]:
    """All that is wrong or doubtful about a pair; it is compatible without an error among them.

    `difference` is where the token lists part, for a pair whose digests differ.
    """
    if main.kind is Kind.ASSISTANT and draft.kind is Kind.MAIN:
        fix = f"give {shown(draft)} as the main model and {shown(main)} as the drafter"
        return [
            _reject(
                "pair-swapped",
                "main model and drafter are swapped",
                "the main model first",
                "the drafter first",
                fix,
            )
        ]
    findings = check_main(main) + check_draft_kind(main, draft)
    if main.kind is not Kind.MAIN or draft.kind is not Kind.ASSISTANT:
        return findings
    fix = f"use the assistant of {owner(main.shape.width) or 'this model'}"
    findings += _check_target(main.shape, draft.shape, fix)
    findings += _check_shared_kv(main.shape, draft.shape, fix)
    findings += _check_layer_order(main.shape, draft.shape, fix)
    findings += _check_heads(draft.shape, fix)
    findings += _check_attention(main.shape, draft.shape)
    findings += _check_vocabulary(main, draft, fix, difference)
    findings += _faults(draft)
    findings += _check_origin(main, draft)
    return sorted(findings, key=lambda finding: finding.level != "error")


def check_main(main: ModelFacts) -> list[Finding]:
    """Is this a main model, and one that llama.cpp can load?"""
    if main.kind is not Kind.MAIN:
        return check_main_kind(main)
    findings = [*_check_own_heads(main.shape), *_faults(main)]
    if main.origin.is_base:
        findings.append(
            _warn(
                "main-is-base",
                f"{shown(main)} is a base model: it does not chat, and assistants were trained "
                "on the tuned one",
                "a model that ends in -it",
                fix="give the -it model of this size",
            )
        )
    return findings


def check_mmproj(main: ModelFacts, mmproj: ModelFacts | None) -> list[Finding]:
    """Is this a vision projector, and one for this main model?"""
    if mmproj is None:
        return []
    if mmproj.kind is not Kind.MMPROJ:
        what = f"the architecture {mmproj.architecture}" if mmproj.architecture else mmproj.kind
        return [_reject("mmproj-kind", f"{shown(mmproj)} is no vision projector", "an mmproj file",
                        clean(what, 80), "give the mmproj file of this model")]  # fmt: skip
    width = main.text.width if main.text else None
    if width is None or mmproj.target_width == width:
        return []
    belongs = owner(mmproj.target_width)
    return [_reject("mmproj-width",
                    "the vision projector was made for another model"
                    + (f": {belongs}" if belongs else ""),
                    f"hidden size {width}", str(mmproj.target_width or "none told"),
                    f"use the mmproj of {owner(width) or 'this model'}")]  # fmt: skip


def is_compatible(findings: list[Finding]) -> bool:
    """Is there no error among them?"""
    return not any(finding.level == "error" for finding in findings)


def _check_target(main: TextModel, draft: TextModel, fix: str) -> Iterator[Finding]:
    if draft.target_width is None or draft.target_width == draft.width:
        yield _reject(
            "draft-target-width",
            "the drafter does not say which hidden size it was made for",
            f"embedding_length_out {main.width}, other than its own {draft.width}",
            str(draft.target_width or "nothing"),
            fix,
        )
    elif draft.target_width != main.width:
        belongs = owner(draft.target_width)
        yield _reject(
            "draft-width",
            "the drafter was made for another model" + (f": {belongs}" if belongs else ""),
            f"hidden size {main.width}",
            f"hidden size {draft.target_width}",
            fix,
        )
    if draft.nextn_layers != draft.n_layers:
        yield _reject(
            "draft-layers",
            "the drafter does not mark its layers as MTP layers",
            f"nextn_predict_layers {draft.n_layers}",
            str(draft.nextn_layers),
            fix,
        )


def _check_shared_kv(main: TextModel, draft: TextModel, fix: str) -> Iterator[Finding]:
    """The drafter reads the K and V of the target's last two layers: shapes must be equal."""
    for what, ours, theirs in (
        ("key length of full layers", main.head_full, draft.head_full),
        ("value length of full layers", main.value_full, draft.value_full),
        ("key length of sliding layers", main.head_sliding, draft.head_sliding),
        ("value length of sliding layers", main.value_sliding, draft.value_sliding),
    ):
        if ours != theirs:
            yield _reject("head-size", f"the {what} differs", str(ours), str(theirs), fix)
    for what, sliding, layer in (("sliding", True, -2), ("full", False, -1)):
        read = {h for h, s in zip(draft.kv_heads, draft.sliding, strict=True) if s is sliding}
        if main.n_layers >= 2 and read - {main.kv_heads[layer]}:
            yield _reject(
                "kv-heads",
                f"the number of KV heads of {what} layers differs",
                str(main.kv_heads[layer]),
                ", ".join(map(str, sorted(read))),
                fix,
            )


def _check_layer_order(main: TextModel, draft: TextModel, fix: str) -> Iterator[Finding]:
    """llama.cpp looks for the shared layers by their place; else it shares the first one."""
    ends_in = ["sliding" if sliding else "full" for sliding in main.sliding[-2:]]
    missing = [
        what
        for what, sliding, place in (("sliding", True, 0), ("full", False, 1))
        if sliding in draft.sliding and ends_in[place:][:1] != [what]
    ]
    if missing:
        yield _reject(
            "layer-order",
            f"the drafter reads a {missing[0]} layer at the end of the main model, and there is "
            "another one",
            "a sliding and a full layer as the last two",
            ", ".join(ends_in),
            fix,
        )


def _check_heads(draft: TextModel, fix: str) -> Iterator[Finding]:
    yield from _check_own_heads(draft, fix)
    if not any(draft.sliding):
        yield _reject(
            "no-sliding-layer",
            "the drafter has no sliding layer",
            "at least one",
            "only full ones",
            fix,
        )


def _check_own_heads(
    model: TextModel, fix: str = "download the model from another source"
) -> Iterator[Finding]:
    """What must hold inside one file: values as long as keys, heads that share KV evenly."""
    for what, keys, values in (
        ("full", model.head_full, model.value_full),
        ("sliding", model.head_sliding, model.value_sliding),
    ):
        if keys != values:
            yield _reject(
                "value-length",
                f"keys and values of {what} layers have different lengths",
                f"{keys} for both",
                f"{keys} and {values}",
                fix,
            )
    uneven = [(q, kv) for q, kv in zip(model.n_heads, model.kv_heads, strict=True) if q % kv]
    if uneven:
        heads, kv_heads = uneven[0]
        yield _reject(
            "head-groups",
            "the heads cannot be shared out over the KV heads",
            f"a multiple of {kv_heads}",
            str(heads),
            fix,
        )


def _check_attention(main: TextModel, draft: TextModel) -> Iterator[Finding]:
    for rule, what, ours, theirs in (
        ("sliding-window", "sliding window", main.window, draft.window),
        ("rope-base", "rope base of full layers", main.rope_base, draft.rope_base),
        ("rope-base", "rope base of sliding layers", main.rope_base_sliding,
         draft.rope_base_sliding),
    ):  # fmt: skip
        if ours != theirs:
            yield _warn(
                rule, f"the {what} differs: fewer drafts will be right", str(ours), str(theirs)
            )


def _check_vocabulary(
    main: ModelFacts, draft: ModelFacts, fix: str, difference: TokenDifference | None
) -> Iterator[Finding]:
    if main.vocabulary_size != draft.vocabulary_size:
        yield _reject(
            "vocabulary-size",
            "the vocabularies have different sizes: nobody vouches for the ids",
            f"{main.vocabulary_size} tokens",
            f"{draft.vocabulary_size} tokens",
            fix,
        )
    elif main.tokens_digest is None or draft.tokens_digest is None:
        yield Finding(
            "vocabulary-unread",
            "info",
            "the token lists have the same length; they are compared after the download",
        )
    elif main.tokens_digest != draft.tokens_digest:
        yield _warn(
            "vocabulary-tokens",
            "the vocabularies have the same size but other tokens: drafts may never be right",
            f"token {difference.id} to be {difference.main!r}" if difference else None,
            repr(difference.draft) if difference else None,
            "use main model and assistant from one source",
        )


def _check_origin(main: ModelFacts, draft: ModelFacts) -> Iterator[Finding]:
    ours, theirs = main.origin, draft.origin
    if None not in (ours.qat, theirs.qat) and ours.qat is not theirs.qat:
        yield _warn(
            "qat-mix",
            "one is of the QAT release and the other is not: fewer drafts will be right",
            f"a drafter {_release(ours.qat)}, like the main model by {ours.qat_by}",
            f"one {_release(theirs.qat)}, by {theirs.qat_by}",
            "use main model and assistant from one repository",
        )
    if main.quant in _LOSSY_MAIN:
        yield _warn(
            "main-quant",
            "a main model of so few bits agrees less with its drafter: 4 to 5.5 points in "
            "published runs",
            "3 bits or more",
            main.quant,
        )
    if draft.quant in _LOSSY_DRAFT:
        yield _warn(
            "draft-quant",
            "a drafter of so few bits is right less often: 51% against 82% with Q8_0 in "
            "published runs of the 12B",
            "Q8_0 or more, a few hundred MB",
            draft.quant,
        )


def _release(qat: bool | None) -> str:
    return "of the QAT release" if qat else "of the release without QAT"


def _faults(facts: ModelFacts) -> Iterator[Finding]:
    for fault in facts.faults:
        does = {
            "tensor-missing": "lacks the tensor",
            "tensor-shape": "has another shape for the tensor",
            "tensor-type": "holds in a type that llama.cpp cannot compute with the tensor",
            "tensor-unknown": "has what llama.cpp does not know, the tensor",
        }[fault.rule]
        yield _reject(
            fault.rule,
            f"{shown(facts)} {does} {clean(fault.tensor, 80)}",
            fault.expected,
            fault.observed,
            "download a conversion for llama.cpp from another source",
        )


def _warn(
    rule: str,
    message: str,
    expected: str | None = None,
    observed: str | None = None,
    fix: str | None = None,
) -> Finding:
    return Finding(rule, "warning", message, expected, observed, fix)


def _reject(
    rule: str, message: str, expected: str | None, observed: str | None, fix: str
) -> Finding:
    return Finding(rule, "error", message, expected, observed, fix)
