"""The Hugging Face Hub: the way there, the token, and models that want a licence accepted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmtp.doctor.check import Check
from llmtp.hub.answers import Reach

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_OFFLINE, _ENDPOINT = "HF_HUB_OFFLINE", "HF_ENDPOINT"
#: The library of the Hub obeys both.
_OFFLINES = (_OFFLINE, "TRANSFORMERS_OFFLINE")
_LOG_IN = "hf auth login"


def hub_checks(reach: Reach, environ: Mapping[str, str]) -> Iterator[Check]:
    """What the Hub answered, and what to do where it did not."""
    offline = [name for name in _OFFLINES if environ.get(name)]
    if reach.endpoint is None and offline:
        words = f"not asked, for {offline[0]} is set: only what is on this disk can run"
        yield Check("models", "hub", "warn", words, f"unset {' '.join(offline)}")
        return
    if reach.endpoint is None:
        yield Check("models", "hub", "pass", "not asked: no profile has a model there")
        return
    if reach.error is not None:
        words = f"{reach.error}, within {reach.answered_s:.1f} s"
        yield Check("models", "hub", "fail", f"{reach.endpoint}: {words}", _way_there(environ))
        return
    words = f"{reach.endpoint} answers within {reach.answered_s:.1f} s"
    yield Check("models", "hub", "pass", words)
    yield _token(reach, environ)
    for repo_id, error in sorted(reach.gated.items()):
        words = str(error) if error else f"{repo_id} wants its licence accepted, and a token"
        fix = f"{_LOG_IN}  # once its licence is accepted on {reach.endpoint}/{repo_id}"
        yield Check("models", "gated", "warn", words, fix)


def _way_there(environ: Mapping[str, str]) -> str:
    """The command after which the Hub is reached, or is not asked any more."""
    for names in (_PROXIES, (_ENDPOINT,)):
        if set_ones := [name for name in names if environ.get(name)]:
            return f"unset {' '.join(set_ones)}"
    return f"export {_OFFLINE}=1"


def _token(reach: Reach, environ: Mapping[str, str]) -> Check:
    if not reach.has_token:
        return Check("models", "token", "pass", "none; open models need none")
    if reach.token_error is None:
        return Check("models", "token", "pass", f"accepted, of {reach.user or 'an account'}")
    if reach.token_error.findings[0].rule != "token":
        return Check("models", "token", "warn", f"not asked of: {reach.token_error}")
    set_ones = [name for name in _TOKENS if environ.get(name)]
    fix = f"unset {' '.join(set_ones)}" if set_ones else "hf auth logout"
    return Check("models", "token", "fail", "the Hub does not accept the token", fix)
