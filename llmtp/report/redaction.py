"""What of a text tells who somebody is, or a secret, and what stands in its place. Pure.

To redact twice changes nothing and counts nothing: every text goes through here once as it is, and
once more as it will be shown.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

SECRET, USER, HOST, ADDRESS = "REDACTED", "USER", "HOST", "ADDRESS"
_CREDENTIALS, _EMAIL, _ID = "CREDENTIALS", "EMAIL", "ID"
_PLACEHOLDERS = {SECRET, USER, HOST, ADDRESS, _CREDENTIALS, _EMAIL, _ID}
_LEAST_SECRET = 6
#: What was replaced may be part of something that looks private together with what is beside it.
_MOST_PASSES = 20
_LEAST_NAME = 3
#: Names of users and machines that are words of every report: there they are no names.
_COMMON = {
    "admin", "alma", "android", "apple", "arch", "archlinux", "build", "cache", "centos",
    "cpu", "ctx", "cuda", "data", "debian", "default", "demo", "desktop", "device", "docker",
    "draft", "engine", "fedora", "file", "gemma", "gemma4", "gguf", "ggml", "gpu", "hf",
    "home", "host", "info", "kernel", "kv", "laptop", "layer", "linux", "llama", "llmtp",
    "local", "log", "mac", "main", "mark", "max", "memory", "metal", "mint", "min", "model",
    "models", "mtp", "node", "none", "nvidia", "off", "on", "pi", "pop", "python", "ram",
    "rocky", "rocm", "runner", "server", "slot", "spec", "start", "suse", "test", "tmp",
    "token", "tokens", "true", "ubuntu", "user", "vulkan", "worker",
}  # fmt: skip
_NOBODY = ("", "root", "localhost", "localhost.localdomain")
_STAMP = r"^\d+\.\d\d\.\d{3}\.\d{3} [A-Z] "
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?!\.?\w)"
_IPV6 = r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.\d{1,3}){3})?(?![\w:])"
_MAC = r"(?<![\w:-])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![\w:-])"
_VALUE = rf"(?:(?-i:{SECRET})(?![\w.~+/=-])|\"[^\"]*\"?|'[^']*'?|[^\s&,;\"']+)"
_TELLTALE = (
    r"(?:api|access|auth|private|secret)[-_ ]?keys?|passw(?:or)?d|passphrase|secret"
    r"|(?:access|auth|hf|hub|github|bearer)[-_]token|authorization|cookie"
)
#: Variables, and flags, whose value nobody may read.
_SECRET_NAME = re.compile(
    r"TOKEN(?!IZ)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE|AUTH|COOKIE|_KEY$", re.I
)
SECRET_FLAG = re.compile(
    r"--?(?:(?:[A-Za-z0-9]+[-_])*api[-_]key\S*|hf[-_]token|hft|ssl[-_]key[-_]file)"
)


@dataclass(frozen=True, slots=True)
class Private:
    """What is private here: `homes` (one place, by its names), the names of users and hosts,
    secrets by their value, and `folders` of models, where names of files will do."""

    homes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    """`put` is what replaces a match, or decides it; to give the match back is to leave it."""

    kind: str
    pattern: re.Pattern[str]
    put: Callable[[re.Match[str]], str]


def is_secret_name(name: str) -> bool:
    """Does a variable of that name hold a secret?"""
    return _SECRET_NAME.search(name) is not None


def secrets_in(values: Iterable[str]) -> tuple[str, ...]:
    """Those that are worth looking for by their value: short ones are words of the report."""
    return tuple(sorted({one for one in values if len(one) >= _LEAST_SECRET}))


class Redaction:
    """Replaces what is private, and counts by kind."""

    def __init__(self, private: Private) -> None:
        self.counts: Counter[str] = Counter()
        self._private = private
        self._rules = _rules(private)

    def __call__(self, text: str, *, keeps_folders: bool = False) -> str:
        """The text without what is private; `keeps_folders` leaves those of models, for a command
        that is to be typed."""
        for _ in range(_MOST_PASSES):
            before = text
            for rule in self._rules:
                if (rule.kind == "folder" and keeps_folders) or not _may_match(rule, text):
                    continue
                text = rule.pattern.sub(functools.partial(self._put, rule), text)
            if text == before:
                break
        return text

    def value_of(self, name: str, value: str) -> str:
        """The value of a variable, or that it is secret."""
        if value and is_secret_name(name):
            self.counts["secret"] += 1
            return SECRET
        return value

    def _put(self, rule: _Rule, found: re.Match[str]) -> str:
        put = rule.put(found)
        if put != found[0]:
            self.counts[rule.kind] += 1
        return put


def _may_match(rule: _Rule, text: str) -> bool:
    """Rules that look at every word are only tried where what they look for can be."""
    return rule.kind not in ("email", "credentials") or "@" in text


def _rules(private: Private) -> tuple[_Rule, ...]:
    """In this order: what is known by its value, what looks like a secret, then who and where."""
    rules: list[tuple[str, str, Callable[[re.Match[str]], str]]] = []
    if private.secrets:
        rules.append(("secret", _any_of(private.secrets), _always(SECRET)))
    rules += [
        ("secret", rf"(?i)(?<![\w-])(--?(?:[a-z0-9]+[-_])*api[-_]key[\w-]*\s+){_VALUE}",
         _after(SECRET)),
        ("secret", rf"(?i)((?<![A-Za-z])(?:{_TELLTALE})[\"']?\s*[:=]\s*(?:(?:bearer|basic)\s+)?)"
         rf"{_VALUE}", _after(SECRET)),
        ("secret", r"(?i)([?&][\w.-]*(?:token|key|sig|signature|secret|credential)=)[^&\s\"'#]+",
         _after(SECRET)),
        ("secret", r"(?i)(\bbearer\s+)[\w.~+/=-]{6,}", _after(SECRET)),
        ("token", r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{10,}|sk-[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}"
         r"|github_pat_\w{16,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{8,}"
         r"|eyJ[\w-]{8,2000}\.[\w-]{2,4000}\.[\w-]{2,2000})", _always(SECRET)),
        ("credentials", r"(?<=://)[^\s/?#'\"]{1,400}@", _always(f"{_CREDENTIALS}@")),
        ("email", r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}", _email),
        ("id", r"(?i)\b(GPU-|MIG-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", _after(_ID)),
        ("address", rf"(?m){_STAMP}|{_IPV4}|{_IPV6}|{_MAC}", _address),
    ]  # fmt: skip
    folders = [f"{folder.rstrip('/')}/" for folder in private.folders if folder.strip("/")]
    if folders:
        rules.append(("folder", rf"(?<![\w.~/-])(?:{_any_of(folders)})", _always("")))
    homes = [home.rstrip("/") for home in private.homes if home.strip("/")]
    if homes:
        rules.append(("home", rf"(?<![\w.~-])(?:{_any_of(homes)})(?![\w.-])", _always("~")))
    rules.append(
        ("user", r"(?<=/home/)(?!linuxbrew\b)[^/\s:'\"]+|(?<=/Users/)[^/\s:'\"]+", _always(USER))
    )
    for kind, put, names in (("user", USER, private.users), ("host", HOST, _hosts(private))):
        pattern = "|".join(_name(name) for name in sorted(names, key=len, reverse=True) if name)
        if pattern:
            rules.append((kind, rf"(?i)(?P<flag>(?<!\S)--?[a-z][\w-]*)|{pattern}", _named(put)))
    hosts = r"(?i)(?<![\w./-])[\w-]{1,63}\.(?:local|lan|internal|intranet|home\.arpa)(?![\w.-])"
    rules.append(("host", hosts, _always(HOST)))
    return tuple(_Rule(kind, re.compile(pattern), put) for kind, pattern, put in rules)


def _hosts(private: Private) -> set[str]:
    """With and without the domain."""
    return {part for host in private.hosts for part in (host, host.partition(".")[0])}


def _name(name: str) -> str:
    """A name as a whole word; one that is a common word only where nothing else is meant."""
    if name.lower() in _NOBODY:
        return r"(?!)"
    escaped = re.escape(name)
    if len(name) < _LEAST_NAME or name.lower() in _COMMON:
        return rf"(?<=[/@]){escaped}(?=[/:@]|\s|$)"
    return rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))


def _always(put: str) -> Callable[[re.Match[str]], str]:
    return lambda _: put


def _after(put: str) -> Callable[[re.Match[str]], str]:
    """Keep the first group, which says what it is."""
    return lambda found: f"{found[1]}{put}"


def _named(put: str) -> Callable[[re.Match[str]], str]:
    """Flags of the engine are no names, nor is what stands for one."""
    return lambda found: found[0] if found["flag"] or found[0] in _PLACEHOLDERS else put


def _email(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith(f"{_CREDENTIALS}@") else _EMAIL


def _address(found: re.Match[str]) -> str:
    """The stamp of a line of the log looks like one, and so do times and parts of C++ names."""
    text = found[0]
    if text.endswith(" "):
        return text
    if re.fullmatch(_MAC, text):
        return ADDRESS
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return text if address.is_loopback or address.is_unspecified else ADDRESS
