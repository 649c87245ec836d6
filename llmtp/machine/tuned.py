"""What `tune` has found on this machine: a file that people may read, one entry a setting.

The last one of a setting counts. What is wrong in it is not used, and told.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmtp import paths
from llmtp.errors import Finding, UsageError
from llmtp.text import clean

VERSION = 1
MOST_N_MAX = 16
#: What the engine calls them; the first is its default.
SAMPLINGS = ("greedy", "probabilistic")
#: The workload of a result that holds for all of them.
ALL_WORK = "all"
_MOST_TEXT = 300
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a result holds: device and back end, files, KV type, and a context of so much or less.

    A file is known by its name, quant and bytes, which its header tells in milliseconds.
    """

    device: str
    main: str
    draft: str
    kv_type: str
    ctx_band: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was the fastest, `n_max` 0 for MTP off, with rates in tokens per second.

    `insisted_n_max` is the fastest with MTP on; `model` is the name of what was tuned, and `asked`
    what the user typed for it. `step_costs` are what a step with 0, 1, 2, ... drafts takes, as
    multiples of a plain one. `workload` is what it was tuned for, `build` the engine's name of
    itself, `engine` a fingerprint of its program, and `files` those of main model and drafter; `at`
    is a date. `old` says what has changed since; it is not kept.
    """

    setting: Setting
    model: str
    asked: str
    n_max: int
    p_min: float
    draft_sampling: str
    tokens_per_s: float
    off_tokens_per_s: float
    insisted_n_max: int
    insisted_tokens_per_s: float
    step_costs: tuple[float, ...]
    workload: str
    temp: float
    build: str | None
    engine: str
    driver: str | None
    files: str
    at: str
    old: str | None = None

    @property
    def speedup(self) -> float:
        return self.tokens_per_s / self.off_tokens_per_s

    @property
    def sampling_flag(self) -> str | None:
        """What the engine is to be told; nothing of its default."""
        return None if self.draft_sampling == SAMPLINGS[0] else self.draft_sampling

    def to_dict(self) -> dict[str, Any]:
        """What a plan tells of it."""
        return {
            "at": self.at,
            "workload": self.workload,
            "temp": self.temp,
            "speedup": self.speedup,
            "build": self.build,
            "driver": self.driver,
            "old": self.old,
        }

    @property
    def is_credible(self) -> bool:
        """Can it be true?"""
        setting = self.setting
        texts = (
            *(self.model, self.asked, self.workload, self.engine, self.files, self.at),
            *(setting.device, setting.main, setting.draft, setting.kv_type, self.draft_sampling),
        )
        named = (self.build, self.driver)
        rates = (self.tokens_per_s, self.off_tokens_per_s, self.insisted_tokens_per_s)
        return (
            all(type(text) is str and len(text) <= _MOST_TEXT for text in texts)
            and all(text is None or type(text) is str for text in named)
            and all(_is_number(rate) and rate > 0 for rate in (*rates, *self.step_costs))
            and type(self.n_max) is int
            and type(self.insisted_n_max) is int
            and 0 <= self.n_max < len(self.step_costs) <= MOST_N_MAX + 1
            and 0 < self.insisted_n_max < len(self.step_costs)
            and type(setting.ctx_band) is int
            and _is_number(self.p_min)
            and 0 <= self.p_min < 1
            and _is_number(self.temp)
            and self.draft_sampling in SAMPLINGS
        )


@dataclass(frozen=True, slots=True)
class Remembered:
    """All that can be used, the last of a setting last; `fault` says why there is not more in the
    file than that."""

    entries: tuple[Tuned, ...]
    fault: str | None = None

    @property
    def finding(self) -> Finding | None:
        """That some of it is not used."""
        if self.fault is None:
            return None
        return Finding(
            "tuned-damaged",
            "warning",
            f"{place()} is not used as a whole: {self.fault}",
            expected=f"what llmtp tune writes, version {VERSION}",
            fix="mend it, or remove it: llmtp tune --forget",
        )


def recall() -> Remembered:
    """What is in the file; nothing, and no fault, where there is none."""
    try:
        with place().open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        kept = json.loads(text) if len(text) <= _MOST_BYTES else None
    except FileNotFoundError:
        return Remembered(())
    except OSError as error:
        return Remembered((), f"it cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return Remembered((), "it is not JSON")
    entries = kept.get("tuned") if isinstance(kept, dict) else None
    if not isinstance(kept, dict) or kept.get("version") != VERSION or type(entries) is not list:
        return Remembered((), "it has another form")
    found = [_parsed(entry) for entry in entries]
    known = {one.setting: one for one in found if one is not None}
    bad = found.count(None)
    return Remembered(
        tuple(known.values()), f"{bad} of its entries cannot be used" if bad else None
    )


def now(
    known: Remembered, engine: Callable[[], str | None], driver: Callable[[], str | None]
) -> tuple[Tuned, ...]:
    """Each with what has changed since: another engine, of which the fingerprint is asked for
    where there is anything to compare, or another driver."""
    if not known.entries:
        return ()
    engine_now, driver_now = engine(), driver()
    return tuple(replace(one, old=_changed(one, engine_now, driver_now)) for one in known.entries)


def remember(tuned: Tuned) -> Path | None:
    """Keep it instead of what was known of its setting; raises UsageError where that fails.

    A file that is not understood as a whole is put aside first: where that is.
    """
    with _locked():
        known = recall()
        aside = None
        if known.fault is not None:
            aside = place().with_suffix(".damaged")
            place().replace(aside)
        others = [one for one in known.entries if one.setting != tuned.setting]
        _write([*others, replace(tuned, old=None)])
    return aside


def forget(names: Sequence[str] | None) -> tuple[Tuned, ...]:
    """Drop what is known of a model by one of its names, or the whole file; what that was. Raises
    UsageError where the file cannot be written, or is not understood."""
    with _locked():
        known = recall()
        if names is None:
            place().unlink(missing_ok=True)
            return known.entries
        gone = tuple(one for one in known.entries if one.model in names or one.asked in names)
        if known.fault is not None:
            raise UsageError(
                f"{place()} is damaged: {known.fault}",
                rule="tuned-damaged",
                fix="mend it, or remove all of it: llmtp tune --forget",
            )
        if gone:
            _write([one for one in known.entries if one not in gone])
        return gone


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let nobody else change the file; raises UsageError where there is no place for it."""
    try:
        folder = paths.private_dir(place().parent)
        with (folder / "tuned.lock").open("w") as lock:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise _unwritable(error) from error


def check_place() -> None:
    """Raises UsageError where nothing can be kept, before minutes are spent."""
    try:
        paths.check_writable(paths.private_dir(place().parent))
    except OSError as error:
        raise _unwritable(error) from error


def place() -> Path:
    """Where it is kept."""
    return paths.state_dir() / "tuned.json"


def _changed(tuned: Tuned, engine: str | None, driver: str | None) -> str | None:
    changes = []
    if tuned.engine != engine:
        changes.append(f"another build of the engine ({tuned.build or 'not told'})")
    if tuned.driver != driver:
        changes.append(f"driver {tuned.driver or 'none'}, which is now {driver or 'none'}")
    return " and ".join(changes) or None


def _parsed(entry: Any) -> Tuned | None:
    try:
        setting, costs = Setting(**entry["setting"]), tuple(entry["step_costs"])
        tuned = Tuned(**{**entry, "setting": setting, "step_costs": costs})
    except (TypeError, KeyError):
        return None
    return _cleaned(tuned) if tuned.is_credible else None


def _cleaned(tuned: Tuned) -> Tuned:
    """Its texts may be shown."""
    return replace(
        tuned,
        workload=clean(tuned.workload, 40),
        build=tuned.build and clean(tuned.build, 60),
        driver=tuned.driver and clean(tuned.driver, 40),
        at=clean(tuned.at, 20),
        old=None,
    )


def _write(entries: Iterable[Tuned]) -> None:
    kept = []
    for one in entries:
        fields: dict[str, Any] = asdict(one)
        del fields["old"]
        kept.append(fields)
    text = json.dumps({"version": VERSION, "tuned": kept}, indent=1) + "\n"
    paths.replace_file(place(), text)


def _unwritable(error: OSError) -> UsageError:
    return UsageError(
        f"{place()} cannot be written: {error.strerror}",
        rule="tuned",
        fix="make room there, or name another place in XDG_STATE_HOME",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
