"""Is a file what it was given as? Names it for what it is, with what to do instead."""

from __future__ import annotations

from llmtp.errors import Finding
from llmtp.gguf.kind import ASSISTANT, MAIN, Kind
from llmtp.gguf.model import ModelFacts
from llmtp.text import clean

#: Hidden size of each released model: it alone says where a drafter belongs.
GEMMA4_WIDTHS = {1536: "E2B", 2560: "E4B", 3840: "12B", 2816: "26B-A4B", 5376: "31B"}

_MODEL = "give a Gemma 4 main model"
#: Kinds that are neither: what they are, and what to do where a main model was asked for.
_KINDS = {
    Kind.FORK_ASSISTANT: ("an assistant in the format of a fork, which llama.cpp refuses", _MODEL),
    Kind.EAGLE3: ("an EAGLE-3 drafter, another method than MTP", _MODEL),
    Kind.DFLASH: ("a DFlash drafter, another method than MTP", _MODEL),
    Kind.MMPROJ: ("the part of a model that sees or hears (mmproj)",
                  "give the main model: the file of that name without mmproj"),
    Kind.IMATRIX: ("statistics for quantising a model (imatrix)",
                   "give the model that was quantised with it"),
    Kind.LORA: ("a LoRA adapter", "give the model that it adapts; the adapter goes behind it: "
                                  "llmtp run MODEL -- --lora FILE"),
    Kind.CONTROL_VECTOR: ("a control vector", "give the model that it steers"),
    Kind.TOKENIZER: ("a tokenizer without a model", _MODEL),
}  # fmt: skip


def owner(width: int | None) -> str | None:
    """`Gemma 4 12B` for the hidden size of one."""
    size = GEMMA4_WIDTHS.get(width or 0)
    return f"Gemma 4 {size}" if size else None


def shown(facts: ModelFacts) -> str:
    """How a message calls a file."""
    return clean(str(facts.path), 300)


def check_main_kind(main: ModelFacts) -> list[Finding]:
    """Is this a main model at all?"""
    if main.kind is Kind.MAIN:
        return []
    belongs = owner(main.target_width)
    if main.kind is Kind.ASSISTANT:
        message = f"{shown(main)} is an MTP drafter, not a model to chat with"
        fix = f"give its main model{f', a {belongs}' if belongs else ''}; this file goes behind "
        return [Finding("main-is-drafter", "error", message, MAIN, ASSISTANT, fix + "--draft")]
    what, fix = _KINDS.get(main.kind, (f"a {main.architecture or 'nameless'} model", _MODEL))
    if main.kind is Kind.BUILT_IN_MTP:
        what += " with MTP built in"
        fix = f"it needs no drafter: llama-server -m {shown(main)} --spec-type draft-mtp"
    return [_other("main-kind", main, what + _of(belongs), "a Gemma 4 main model", fix)]


def check_draft_kind(main: ModelFacts, draft: ModelFacts) -> list[Finding]:
    """Is this a Gemma 4 assistant at all?"""
    if draft.kind is Kind.ASSISTANT:
        return []
    belongs = owner(main.text.width if main.text else None)
    fix = f"give the assistant of {belongs or 'this model'} with --draft, or --draft off"
    what, _ = _KINDS.get(draft.kind, (f"a {draft.architecture or 'nameless'} model", None))
    if draft.kind is Kind.MAIN:
        what = "a main model"
    elif draft.kind is Kind.BUILT_IN_MTP:
        what += " with MTP built in, which serves itself only"
    elif draft.kind is Kind.FORK_ASSISTANT:
        what += _of(owner(draft.target_width))
        fix += f"; look for one whose architecture is {ASSISTANT}"
    return [_other("draft-kind", draft, what, "a Gemma 4 assistant", fix)]


def _of(belongs: str | None) -> str:
    return f", of {belongs}" if belongs else ""


def _other(rule: str, facts: ModelFacts, what: str, expected: str, fix: str) -> Finding:
    observed = f"the architecture {facts.architecture}" if facts.architecture else facts.kind.value
    return Finding(rule, "error", f"{shown(facts)} is {what}", expected, observed, fix)
