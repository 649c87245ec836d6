"""Every pair rule against the real engine, both ways.

What is rejected aborts, refuses or never hits there; what is accepted loads and drafts.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from builders import make_pair, make_pair_that_attends
from edit import F32, I32, STRING, U32, Edited, Row, edit, load
from harness import Cli
from make_crafted_pair import CRAFTED, Shape
from shapes import MAIN, noise, with_experts, with_per_layer_embeddings
from truth import Fate, assert_says, truth

from llmtp.gguf.facts import TOKENS, read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.types import TENSOR_TYPES
from llmtp.pairing import check_pair

DRAFT = "gemma4-assistant."
Change = Callable[[Edited], object]


def put(key: str, kind: int, value: object) -> Change:
    return lambda parts: parts.set(key, kind, value)


def drop(key: str) -> Change:
    return lambda parts: parts.entries.pop(key)


def without(tensor: str) -> Change:
    return lambda parts: parts.tensors.pop(tensor)


def row(tensor: str, value: Row) -> Change:
    return lambda parts: parts.tensors.update({tensor: value})


def both(*changes: Change) -> Change:
    return lambda parts: [change(parts) for change in changes]


def of_type(tensor: str, number: int) -> Change:
    """Turn a tensor into zeros of another type."""

    def change(parts: Edited) -> None:
        old, kind, count = parts.tensors[tensor], TENSOR_TYPES[number], 1
        for length in old.shape:
            count *= length
        data = bytes(count // kind.block_size * kind.block_bytes)
        parts.tensors[tensor] = Row(old.shape, number, data)

    return change


@dataclass(frozen=True)
class Case:
    rule: str
    fate: Fate
    says: str = ""
    main: Change | None = None
    draft: Change | None = None
    main_shape: Shape = CRAFTED
    draft_shape: Shape = CRAFTED
    attends: bool = False

    def make(self, folder: Path) -> list[Path]:
        make = make_pair_that_attends if self.attends else make_pair
        paths = make(folder, self.main_shape, self.draft_shape)
        for path, change in zip(paths, (self.main, self.draft), strict=True):
            if change is not None:
                edit(path, change)
        return paths


def shaped(**sizes: object) -> Shape:
    return replace(CRAFTED, **sizes)  # type: ignore[arg-type]  # the names are checked at run time


VIEW = r"GGML_ASSERT\(view_src == NULL"
MISSING = "missing tensor|tensor '.+' not found"
FEWER_LAYERS = "n_layer_nextn|wrong number of tensors"
UNKNOWN = "unknown model architecture"
#: 96 = 4 x 24: the width of rows in types with blocks of 32 must be a multiple of it.
REJECTED: dict[str, Case] = {
    "made for a wider model": Case(
        "draft-width", "aborts", "ggml_can_mul_mat", draft_shape=shaped(width=160)
    ),
    "made for a narrower model": Case(
        "draft-width", "aborts", "ggml_can_mul_mat", main_shape=shaped(width=160)
    ),
    "no target width": Case(
        "draft-target-width",
        "refuses",
        "requires embedding_length_out",
        draft=drop(f"{DRAFT}embedding_length_out"),
    ),
    "target width is its own": Case(
        "draft-target-width",
        "refuses",
        "requires embedding_length_out",
        draft=put(f"{DRAFT}embedding_length_out", U32, CRAFTED.draft_width),
    ),
    "no MTP layers": Case(
        "draft-layers", "aborts", FEWER_LAYERS, draft=drop(f"{DRAFT}nextn_predict_layers")
    ),
    "fewer MTP layers": Case(
        "draft-layers", "aborts", FEWER_LAYERS, draft=put(f"{DRAFT}nextn_predict_layers", U32, 3)
    ),
    "larger full heads": Case("head-size", "aborts", VIEW, draft_shape=shaped(head_full=64)),
    "larger sliding heads": Case("head-size", "aborts", VIEW, draft_shape=shaped(head_sliding=32)),
    "smaller full heads": Case(
        "head-size", "never hits", draft_shape=shaped(head_full=16), attends=True
    ),
    "smaller sliding heads": Case(
        "head-size", "never hits", draft_shape=shaped(head_sliding=8), attends=True
    ),
    "more sliding KV heads": Case(
        "kv-heads", "aborts", VIEW, draft_shape=shaped(kv_heads_sliding=4)
    ),
    "more full KV heads": Case("kv-heads", "aborts", VIEW, draft_shape=shaped(kv_heads_full=2)),
    "fewer sliding KV heads": Case(
        "kv-heads", "never hits", draft_shape=shaped(kv_heads_sliding=1), attends=True
    ),
    "fewer full KV heads": Case(
        "kv-heads", "never hits", main_shape=shaped(kv_heads_full=2), attends=True
    ),
    "other value length": Case(
        "value-length",
        "aborts",
        "GGML_ASSERT",
        draft=put(f"{DRAFT}attention.value_length", U32, 16),
    ),
    "other sliding value length": Case(
        "value-length",
        "refuses",
        "requires n_embd_head_k == n_embd_head_v",
        draft=put(f"{DRAFT}attention.value_length_swa", U32, 8),
    ),
    "other value length in the main model": Case(
        "value-length",
        "aborts",
        "n_embd_head_v",
        main=put(f"{MAIN}attention.value_length", U32, 16),
    ),
    "heads that cannot share": Case(
        "head-groups", "aborts", "ggml_can_mul_mat", draft_shape=shaped(heads=3)
    ),
    **{
        f"main model that ends in {words}": Case(
            "layer-order",
            "never hits",
            main_shape=shaped(kv_heads_sliding=1, layers=(True, True, False, *last)),
            draft_shape=shaped(kv_heads_sliding=1),
            attends=True,
        )
        for words, last in {
            "two full layers": (False, False),
            "two sliding layers": (True, True),
            "the wrong order": (False, True),
        }.items()
    },
    "no sliding layer": Case(
        "no-sliding-layer", "aborts", "is_swa_any", draft_shape=shaped(draft_layers=(False,) * 4)
    ),
    "a fork's drafter": Case(
        "draft-kind",
        "refuses",
        UNKNOWN,
        draft=put("general.architecture", STRING, "gemma4_assistant"),
    ),
    "another fork's drafter": Case(
        "draft-kind", "refuses", UNKNOWN, draft=put("general.architecture", STRING, "gemma4_mtp")
    ),
    "another architecture as main model": Case(
        "main-kind", "refuses", UNKNOWN, main=put("general.architecture", STRING, "gemma5")
    ),
    "no weights": Case("main-kind", "refuses", MISSING, main=lambda p: p.tensors.clear()),
    "drafter without a projection": Case(
        "tensor-missing",
        "refuses",
        MISSING,
        draft=without("nextn.pre_projection.weight"),
    ),
    "drafter without a scale": Case(
        "tensor-missing",
        "refuses",
        MISSING,
        draft=without("blk.1.layer_output_scale.weight"),
    ),
    "main model without a norm": Case(
        "tensor-missing", "refuses", MISSING, main=without("blk.2.attn_k_norm.weight")
    ),
    "no rope factors": Case(
        "tensor-missing", "refuses", MISSING, draft=without("rope_freqs.weight")
    ),
    "experts without a norm": Case(
        "tensor-missing",
        "refuses",
        MISSING,
        main=both(with_experts, without("blk.1.post_ffw_norm_2.weight")),
    ),
    "per-layer embeddings without a gate": Case(
        "tensor-missing",
        "refuses",
        MISSING,
        main=both(with_per_layer_embeddings, without("blk.1.inp_gate.weight")),
    ),
    "another feed-forward width": Case(
        "tensor-shape", "refuses", "wrong shape", draft=put(f"{DRAFT}feed_forward_length", U32, 64)
    ),
    "experts of another size": Case(
        "tensor-shape",
        "refuses",
        "wrong shape",
        main=both(with_experts, put(f"{MAIN}expert_feed_forward_length", U32, 16)),
    ),
    "fewer embeddings than tokens": Case(
        "tensor-shape", "refuses", "wrong shape", main=row("token_embd.weight", noise(128, 300))
    ),
    "rope factors of no layer": Case(
        "tensor-unknown",
        "refuses",
        "wrong number of tensors",
        draft_shape=shaped(draft_layers=(True,) * 4),
    ),
    "a tensor of a fork": Case(
        "tensor-unknown",
        "refuses",
        "wrong number of tensors",
        draft=row("nextn.centroids.weight", noise(32, 32)),
    ),
    "a scale of the embeddings": Case(
        "tensor-unknown",
        "refuses",
        "wrong number of tensors",
        main=row("token_embd.scale", noise(1)),
    ),
    "a scale of many numbers": Case(
        "tensor-shape", "refuses", "wrong shape", main=row("blk.1.ffn_up.scale", noise(7))
    ),
    "an assistant's tensor in a main model": Case(
        "tensor-unknown",
        "refuses",
        "wrong number of tensors",
        main=row("masked_embd_centroids.weight", noise(32, 32)),
    ),
    "a norm that is no float32": Case(
        "tensor-type", "aborts", main=of_type("output_norm.weight", 1)
    ),
    "rope factors that are no float32": Case(
        "tensor-type", "aborts", "GGML_TYPE_F32", main=of_type("rope_freqs.weight", 1)
    ),
    **{
        f"{place} in {TENSOR_TYPES[number].name}": Case(
            "tensor-type",
            "aborts",
            **{role: of_type(place, number)},  # type: ignore[arg-type]  # main or draft
        )
        for role, place, number in (
            ("main", "token_embd.weight", 28),
            ("main", "token_embd.weight", 27),
            ("main", "token_embd.weight", 24),
            ("main", "blk.1.ffn_up.weight", 28),
            ("main", "blk.1.ffn_up.weight", 26),
            ("main", "blk.1.ffn_up.weight", 25),
            ("main", "blk.1.ffn_up.weight", 9),
            ("draft", "token_embd.weight", 28),
            ("draft", "nextn.post_projection.weight", 24),
        )
    },
}
DOUBTED: dict[str, Case] = {
    "another window": Case("sliding-window", "hits", draft_shape=shaped(window=256)),
    "another rope base": Case("rope-base", "hits", draft=put(f"{DRAFT}rope.freq_base", F32, 5e5)),
    "another sliding rope base": Case(
        "rope-base", "hits", draft=put(f"{DRAFT}rope.freq_base_swa", F32, 5e5)
    ),
    "QAT drafter": Case(
        "qat-mix",
        "hits",
        main=put("general.base_model.0.name", STRING, "gemma-4-12B-it"),
        draft=put("general.name", STRING, "gemma-4 12B it qat assistant"),
    ),
    "QAT main model": Case(
        "qat-mix",
        "hits",
        main=put("general.name", STRING, "Gemma 4 12B It Qat"),
        draft=put("general.base_model.0.name", STRING, "gemma-4-12B-it"),
    ),
    "base model": Case(
        "main-is-base", "hits", main=put("general.name", STRING, "Gemma 4 12B Base")
    ),
}
ACCEPTED: dict[str, Case] = {
    "the crafted pair": Case("", "hits"),
    "it attends": Case("", "hits", attends=True),
    "a drafter that reads sliding layers only": Case(
        "",
        "hits",
        main_shape=shaped(layers=(False, True, True)),
        draft_shape=shaped(draft_layers=(True, True)),
        draft=without("rope_freqs.weight"),
        attends=True,
    ),
    "two full KV heads": Case(
        "",
        "hits",
        main_shape=shaped(kv_heads_full=2),
        draft_shape=shaped(kv_heads_full=2),
        attends=True,
    ),
    "KV heads as one number": Case(
        "",
        "hits",
        main=put(f"{MAIN}attention.head_count_kv", U32, 2),
        main_shape=shaped(kv_heads_full=2),
        draft_shape=shaped(kv_heads_full=2),
    ),
    "another context": Case("", "hits", draft_shape=shaped(context=4096)),
    "more heads": Case("", "hits", draft_shape=shaped(heads=8)),
    "fewer drafter layers": Case("", "hits", draft_shape=shaped(draft_layers=(True, False))),
    "another soft cap": Case("", "hits", main=put(f"{MAIN}final_logit_softcapping", F32, 0.0)),
    "another name": Case("", "hits", draft=put("general.name", STRING, "Assistant")),
    "no shared layers in the drafter": Case(
        "", "hits", draft=put(f"{DRAFT}attention.shared_kv_layers", U32, 0)
    ),
    "no output scale in the main model": Case(
        "", "hits", main=without("blk.1.layer_output_scale.weight")
    ),
    "a scale of a matrix": Case("", "hits", main=row("blk.1.ffn_up.scale", noise(1))),
    "experts, as the 26B-A4B": Case("", "hits", main=with_experts),
    "per-layer embeddings, as the E2B": Case("", "hits", main=with_per_layer_embeddings),
    "half precision": Case("", "hits", main=of_type("blk.1.ffn_up.weight", 1)),
    "bfloat16": Case("", "hits", main=of_type("blk.1.ffn_up.weight", 30)),
    "Q8_0": Case("", "hits", main=of_type("blk.1.ffn_up.weight", 8)),
    "Q4_0": Case("", "hits", main=of_type("blk.1.ffn_up.weight", 2)),
}


def levels(main: Path, draft: Path) -> dict[str, str]:
    findings = check_pair(read_facts(open_model(main)), read_facts(open_model(draft)))
    return {finding.rule: finding.level for finding in findings}


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_rejected_does_not_work(name: str, tmp_path: Path) -> None:
    case = REJECTED[name]
    main, draft = case.make(tmp_path)
    assert levels(main, draft).get(case.rule) == "error"
    assert_says(truth(main, draft, says=case.says), case.fate, case.says)


@pytest.mark.parametrize("name", DOUBTED)
def test_what_is_doubted_works(name: str, tmp_path: Path) -> None:
    case = DOUBTED[name]
    main, draft = case.make(tmp_path)
    assert levels(main, draft) == {case.rule: "warning"}
    assert_says(truth(main, draft, says=case.says), case.fate, case.says)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_works(name: str, tmp_path: Path) -> None:
    case = ACCEPTED[name]
    main, draft = case.make(tmp_path)
    assert levels(main, draft) == {}
    assert_says(truth(main, draft, says=case.says), case.fate, case.says)


def more_words(parts: Edited) -> None:
    """One more token, and one more embedding: a list of another length."""
    words = tokens(parts)
    parts.set(TOKENS, STRING, [*words, "extra"])
    parts.set("tokenizer.ggml.scores", F32, [0.0] * (len(words) + 1))
    parts.set("tokenizer.ggml.token_type", I32, [1] * (len(words) + 1))
    old = parts.tensors["token_embd.weight"]
    row_bytes = 4 * old.shape[0]
    shape = (old.shape[0], old.shape[1] + 1)
    parts.tensors["token_embd.weight"] = Row(shape, 0, old.data + bytes(row_bytes))


def test_another_number_of_tokens_is_rejected_though_the_engine_runs_it(tmp_path: Path) -> None:
    """The one rule that is stricter than the engine: nobody vouches for the ids."""
    main, draft = make_pair(tmp_path)
    edit(draft, more_words)
    assert levels(main, draft) == {"vocabulary-size": "error"}
    assert truth(main, draft).fate == "hits"


def test_tensors_of_the_reference_head_are_rejected_for_newer_builds(tmp_path: Path) -> None:
    """Nothing uses them: b10068 runs such a drafter, b11434 ends the load with a range check."""
    main, draft = make_pair(tmp_path)
    edit(draft, row("masked_embd_centroids.weight", noise(32, 32)))
    assert levels(main, draft) == {"tensor-unknown": "error"}
    assert truth(main, draft).fate in ("hits", "refuses")


def test_other_tokens_warn_and_name_the_first_id(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path)
    words = tokens(load(draft))

    def rename(parts: Edited) -> None:
        parts.set(TOKENS, STRING, [*words[:300], "\x1b[31mred", *words[301:]])

    edit(draft, rename)
    assert levels(main, draft) == {"vocabulary-tokens": "warning"}
    (finding,) = cli("check", main, draft, "--json").json["findings"]
    assert finding["expected"] == f"token 300 to be {words[300]!r}"
    assert finding["observed"] == "'\N{REPLACEMENT CHARACTER}[31mred'"
    assert truth(main, draft).fate == "hits"


@pytest.mark.parametrize(
    ("flags", "fate", "says"),
    [
        ([], "never drafts", ""),
        (["--spec-type", "draft-simple"], "fails requests", "failed to process speculative batch"),
        (["--spec-type", "draft-mtp", "--spec-draft-n-max", "0"], "aborts", "n_outputs_max"),
        (["--spec-type", "mtp"], "refuses", "unknown speculative type"),
        (["--spec-type", "draft-mtp", "--draft-max", "3"], "refuses", "--draft-max"),
    ],
    ids=["no type", "draft-simple", "n-max 0", "old name", "old flag"],
)
def test_wrong_flags_are_never_passed(
    cli: Cli, tmp_path: Path, flags: list[str], fate: Fate, says: str
) -> None:
    """A right pair fails by the flag alone, so llmtp's own command never has it."""
    main, draft = make_pair(tmp_path)
    assert_says(truth(main, draft, flags, says=says), fate, says)
    argv = shlex.split(cli("run", main, "--n-max", "3", "--dry-run").stdout)
    assert argv[argv.index("--spec-type") + 1] == "draft-mtp"
    assert int(argv[argv.index("--spec-draft-n-max") + 1]) > 0
    assert "--draft-max" not in argv


def test_a_main_model_without_its_drafter_is_refused_for_mtp(crafted: Path) -> None:
    said = "failed to create MTP context"
    assert_says(truth(crafted / "crafted.gguf", None, says=said), "refuses", said)


def tokens(parts: Edited) -> list[str]:
    """The token list of a file, taken apart by hand."""
    raw, words = parts.entries[TOKENS], []
    at = 16  # type, element type, count
    while at < len(raw):
        (length,) = struct.unpack_from("<Q", raw, at)
        words.append(raw[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return words
