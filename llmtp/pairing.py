"""Does this drafter belong to this main model? Facts of two files to findings; no I/O.

llama-server checks none of this: it aborts, or serves with a drafter that never hits. The rules
mirror the graph of gemma4-assistant and the KV sharing of llama.cpp (src/llama-model.cpp: the
drafter's full layers read the target's last layer, its sliding layers the one before).
"""

from __future__ import annotations

from llmtp.errors import Finding
from llmtp.gguf.facts import ASSISTANT, MAIN, ModelFacts, TextModel
from llmtp.text import clean

#: Hidden size of each released model: it alone says where a drafter belongs.
GEMMA4_WIDTHS = {1536: "E2B", 2560: "E4B", 3840: "12B", 2816: "26B-A4B", 5376: "31B"}


def check_pair(main: ModelFacts, draft: ModelFacts) -> list[Finding]:
    """All that is wrong or doubtful about a pair; it is compatible without an error among them."""
    if main.architecture == ASSISTANT and draft.architecture == MAIN:
        return [
            _reject(
                "pair-swapped",
                "main model and drafter are swapped",
                MAIN,
                main.architecture,
                f"give {_name(draft)} as the main model and {_name(main)} as the drafter",
            )
        ]
    findings = check_main(main) + _check_draft_kind(draft)
    if findings or main.text is None or draft.text is None:
        return findings
    return _check_shapes(main.text, draft.text) + _check_vocabulary(main, draft)


def check_main(main: ModelFacts) -> list[Finding]:
    """Is this a main model at all?"""
    if main.architecture == MAIN:
        return []
    if main.architecture == ASSISTANT:
        return [
            _reject(
                "main-is-drafter",
                f"{_name(main)} is an MTP drafter, not a model to chat with",
                MAIN,
                ASSISTANT,
                f"give its main model{_owner(main)}; this file goes behind --draft",
            )
        ]
    return [
        _reject(
            "main-architecture",
            f"{_name(main)} is a {main.architecture} model",
            f"the architecture {MAIN}",
            main.architecture,
            "give a Gemma 4 main model",
        )
    ]


def is_compatible(findings: list[Finding]) -> bool:
    """Is there no error among them?"""
    return not any(finding.level == "error" for finding in findings)


def _check_draft_kind(draft: ModelFacts) -> list[Finding]:
    if draft.architecture == ASSISTANT:
        return []
    wrong = "a main model" if draft.architecture == MAIN else f"a {draft.architecture} model"
    return [
        _reject(
            "draft-architecture",
            f"{_name(draft)} is {wrong}, not a Gemma 4 assistant",
            f"the architecture {ASSISTANT}",
            draft.architecture,
            "give the assistant of this model with --draft, or --draft off",
        )
    ]


def _check_shapes(main: TextModel, draft: TextModel) -> list[Finding]:
    size = GEMMA4_WIDTHS.get(main.width)
    fix = f"use the assistant of Gemma 4 {size}" if size else "use the assistant of this model"
    findings = []
    if draft.target_width is None or draft.target_width == draft.width:
        findings.append(
            _reject(
                "draft-target-width",
                "the drafter does not say which hidden size it was made for",
                f"embedding_length_out {main.width}, other than its own {draft.width}",
                str(draft.target_width or "nothing"),
                fix,
            )
        )
    elif draft.target_width != main.width:
        belongs = GEMMA4_WIDTHS.get(draft.target_width)
        findings.append(
            _reject(
                "draft-width",
                "the drafter was made for another model"
                + (f": Gemma 4 {belongs}" if belongs else ""),
                f"hidden size {main.width}",
                f"hidden size {draft.target_width}",
                fix,
            )
        )
    if draft.nextn_layers != draft.n_layers:
        findings.append(
            _reject(
                "draft-layers",
                "the drafter does not mark its layers as MTP layers",
                f"nextn_predict_layers {draft.n_layers}",
                str(draft.nextn_layers),
                fix,
            )
        )
    return findings + _check_shared_kv(main, draft, fix) + _check_attention(main, draft)


def _check_shared_kv(main: TextModel, draft: TextModel, fix: str) -> list[Finding]:
    """The drafter reads the K and V of the target's last two layers: shapes must be equal."""
    findings = []
    for what, ours, theirs in (
        ("key length of full layers", main.head_full, draft.head_full),
        ("value length of full layers", main.value_full, draft.value_full),
        ("key length of sliding layers", main.head_sliding, draft.head_sliding),
        ("value length of sliding layers", main.value_sliding, draft.value_sliding),
    ):
        if ours != theirs:
            findings.append(
                _reject("head-size", f"the {what} differs", str(ours), str(theirs), fix)
            )
    for what, sliding, layer in (("sliding", True, -2), ("full", False, -1)):
        read = {h for h, s in zip(draft.kv_heads, draft.sliding, strict=True) if s is sliding}
        if main.n_layers >= 2 and read - {main.kv_heads[layer]}:
            findings.append(
                _reject(
                    "kv-heads",
                    f"the number of KV heads of {what} layers differs",
                    str(main.kv_heads[layer]),
                    ", ".join(map(str, sorted(read))),
                    fix,
                )
            )
    return findings


def _check_attention(main: TextModel, draft: TextModel) -> list[Finding]:
    findings = []
    if main.sliding[-2:] != (True, False):
        findings.append(
            Finding(
                "layer-order",
                "warning",
                "the main model does not end in a sliding and a full layer, which drafters read",
            )
        )
    for what, ours, theirs in (
        ("sliding window", main.window, draft.window),
        ("rope base of full layers", main.rope_base, draft.rope_base),
        ("rope base of sliding layers", main.rope_base_sliding, draft.rope_base_sliding),
    ):
        if ours != theirs:
            findings.append(
                Finding(
                    "attention",
                    "warning",
                    f"the {what} differs: fewer drafts will be right",
                    expected=str(ours),
                    observed=str(theirs),
                )
            )
    return findings


def _check_vocabulary(main: ModelFacts, draft: ModelFacts) -> list[Finding]:
    if main.vocabulary_size != draft.vocabulary_size:
        return [
            _reject(
                "vocabulary-size",
                "the vocabularies have different sizes",
                f"{main.vocabulary_size} tokens",
                f"{draft.vocabulary_size} tokens",
                "use the assistant of this model",
            )
        ]
    if main.tokens_digest != draft.tokens_digest:
        return [
            Finding(
                "vocabulary-tokens",
                "warning",
                "the vocabularies have the same size but other tokens: drafts may never be right",
                fix="use main model and assistant from one source",
            )
        ]
    return []


def _name(facts: ModelFacts) -> str:
    return clean(str(facts.path), 300)


def _owner(draft: ModelFacts) -> str:
    target = draft.text.target_width if draft.text else None
    size = GEMMA4_WIDTHS.get(target) if target else None
    return f", a Gemma 4 {size}" if size else ""


def _reject(rule: str, message: str, expected: str, observed: str, fix: str) -> Finding:
    return Finding(rule, "error", message, expected, observed, fix)
