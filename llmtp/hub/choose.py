"""Which files of a repository to look into: candidates by name, best first. Headers decide."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmtp.gguf.split import is_later_part

#: Tags of main models, best quality first. Two bytes a weight come last: nobody sees what they
#: add to Q8_0, and they take twice the memory and the time.
_QUANTS = ("Q8_K_XL", "Q8_0", "Q6_K_XL", "Q6_K_L", "Q6_K", "Q5_K_XL", "Q5_K_L", "Q5_K_M", "Q5_K_S",
           "Q4_K_XL", "Q4_K_L", "Q4_K_M", "Q4_0", "Q4_1", "Q4_K_S", "IQ4_NL", "IQ4_XS", "Q3_K_XL",
           "Q3_K_L", "Q3_K_M", "IQ3_M", "Q3_K_S", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K_XL", "Q2_K_L",
           "Q2_K", "IQ2_M", "BF16", "F16", "F32")  # fmt: skip
_DRAFT_QUANTS = ("Q8_0", "BF16", "F16", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
_DRAFTER = re.compile(r"(?<![a-z])(mtp|assist|assistant|draft|drafter)(?![a-z])")
_ASIDE = re.compile(r"(?<![a-z])(mmproj|eagle3|dflash|dspark)(?![a-z])")
_IMATRIX = re.compile(r"(?<![a-z])imatrix(?![a-z])")
_QUANT = re.compile(r"(?<![a-z0-9])(ud-)?(i?q\d|tq\d|b?fp?(16|32)|mxfp4|nvfp4)(_[a-z0-9]+)*")
_MMPROJ = re.compile(r"(?<![a-z])mmproj(?![a-z])")
_MMPROJ_QUANTS = ("F16", "BF16", "Q8_0", "F32")


def main_candidates(names: Sequence[str], quant: str | None) -> list[str]:
    """Files that may hold the main model in `quant`, plainest name first.

    Of all quants where it is None, best quality first.
    """
    models = [n for n in _models(names) if not _DRAFTER.search(n.lower())]
    if quant is not None:
        return sorted((n for n in models if _has_tag(n, quant)), key=_plainness)
    return sorted(models, key=lambda n: (_rank(n, _QUANTS), _plainness(n)))


def draft_candidates(names: Sequence[str], quant: str | None) -> list[str]:
    """Files that may hold a drafter by their names, best first."""
    named = [n for n in _models(names) if _DRAFTER.search(n.lower())]
    wanted = [n for n in named if _has_tag(n, quant)] if quant else named
    return sorted(wanted, key=lambda n: (_rank(n, _DRAFT_QUANTS), _plainness(n)))


def mmproj_candidates(names: Sequence[str]) -> list[str]:
    """Files that may hold the projector of images and sound, best first."""
    named = [n for n in names if n.lower().endswith(".gguf") and _MMPROJ.search(n.lower())]
    return sorted(named, key=lambda n: (_rank(n, _MMPROJ_QUANTS), _plainness(n)))


def quant_tag(name: str) -> str | None:
    """`UD-Q4_K_XL` of `a-UD-Q4_K_XL.gguf`: how the name of a file calls its quant."""
    found = _QUANT.search(name.rpartition("/")[2].lower())
    return found[0].upper() if found else None


def _models(names: Sequence[str]) -> list[str]:
    return [
        name
        for name in names
        if name.lower().endswith(".gguf")
        and not _ASIDE.search(name.lower())
        and (_QUANT.search(name.lower()) or not _IMATRIX.search(name.lower()))
        and not is_later_part(name)
    ]


def _has_tag(name: str, tag: str) -> bool:
    """Is `tag` a quant, and a word of the name? `Q4_K` is none of `Q4_K_M`, nor is `12b` one."""
    if _QUANT.fullmatch(tag.lower()) is None:
        return False
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(tag.lower())}(?!_?[a-z0-9])", name.lower()))


def _rank(name: str, order: Sequence[str]) -> float:
    """Place in an order of preference; a name without a quant stands behind its first."""
    for place, tag in enumerate(order):
        if _has_tag(name, tag):
            return place
    return len(order) if _QUANT.search(name.lower()) else 0.5


def _plainness(name: str) -> tuple[int, int, str]:
    return name.count("/"), len(name), name
