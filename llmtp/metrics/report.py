"""What `top` shows of a server: what it is, what it does now, and what it did. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from llmtp.engine.kinds import Kind
from llmtp.errors import Finding
from llmtp.metrics.advice import LEAST_DRAFTS, Advice, Costs, advise
from llmtp.metrics.counters import Drafting
from llmtp.metrics.look import Look
from llmtp.metrics.totals import Totals

_FIXES = {
    "/metrics": "start the server with --metrics",
    "/slots": "start the server without --no-slots; with a key: --api-key-file FILE",
}


@dataclass(frozen=True, slots=True)
class Watched:
    """Which server. `id` and `costs` are of one of ours; `n_max` 0 is MTP off, and None what
    nobody tells, as is `ctx_size` of all slots together."""

    id: str | None
    url: str
    engine: Kind
    build: str | None
    model: str | None
    n_max: int | None
    ctx_size: int | None
    costs: Costs | None


@dataclass(frozen=True, slots=True)
class Lent:
    """What a plan has on the devices of a worker, which is asked by one machine only; None of
    `connected` is not known."""

    endpoint: str
    planned_bytes: int
    connected: bool | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Use:
    """Memory and power; that of devices by all programs on them, `rss_bytes` by the engine."""

    rss_bytes: int | None = None
    device_used_bytes: int | None = None
    device_total_bytes: int | None = None
    power_w: float | None = None
    workers: tuple[Lent, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One line of `top --json`. `state` is a word; `window` is of the last `window_s` seconds."""

    server: Watched
    state: str
    uptime_s: float | None
    look: Look
    window_s: float
    window: Totals
    use: Use

    @property
    def total(self) -> Totals:
        return self.look.totals

    @property
    def mtp(self) -> bool | None:
        """Does it draft? By what it was told, or by what it did."""
        if self.n_max is not None:
            return self.n_max > 0
        if self.total.drafting is not None and self.total.drafting.drafts:
            return True
        return self.look.drafts

    @property
    def n_max(self) -> int | None:
        """As it was told, or as it tells."""
        return self.look.n_max if self.server.n_max is None else self.server.n_max

    @property
    def best(self) -> Totals:
        """The window, or all of its life where no request ended in it."""
        return self.window if self.window.predicted_tokens else self.total

    @property
    def shown(self) -> tuple[str, Totals]:
        """The drafts that say most about now: those of the window, where there were any."""
        recent = self.window.drafting
        if recent is not None and recent.drafts > 0:
            return "window", self.window
        return "total", self.total

    @property
    def advice(self) -> tuple[str, Advice] | None:
        """By the window, or by all of its life where that has too few drafts."""
        for over, totals in (("window", self.window), ("total", self.total)):
            if totals.drafting is not None and totals.drafting.drafts >= LEAST_DRAFTS:
                advice = self._advice(totals.drafting)
                return None if advice is None else (over, advice)
        return None

    def _advice(self, drafting: Drafting) -> Advice | None:
        costs, n_max = self.server.costs, self.n_max
        if costs is None or n_max is None:
            return None
        return advise(drafting.acceptance_per_position, drafting.drafts, costs, n_max)

    def findings(self) -> list[Finding]:
        """What is worth a word: a faster n-max, and what the server does not tell."""
        found = [
            Finding("not-told", "warning", f"no {path}: {why}", fix=_FIXES.get(path))
            for path, why in self.look.refused.items()
        ]
        if (advice := self.advice) is not None:
            found.append(
                Finding("n-max", "info", advice[1].message, fix=f"start it with {advice[1].fix}")
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """The fields of the event `sample`, and the `data` of `--once`."""
        server, look = self.server, self.look
        advice = self.advice
        return {
            "id": server.id,
            "url": server.url,
            "engine": server.engine,
            "build": server.build,
            "model": server.model,
            "state": self.state,
            "uptime_s": None if self.uptime_s is None else round(self.uptime_s, 3),
            "mtp": self.mtp,
            "n_max": self.n_max,
            "slots": look.slots,
            "busy_slots": look.busy,
            "waiting": look.waiting,
            "ctx_size": server.ctx_size,
            "ctx_per_slot": look.ctx_per_slot,
            "context_used": look.context_used,
            "fullest_slot_used": look.fullest_used,
            "kv_share": look.kv_share,
            "tokens_per_s": look.tokens_per_s,
            "window": {"window_s": round(self.window_s, 3), **self.window.to_dict()},
            "total": self.total.to_dict(),
            "rss_bytes": self.use.rss_bytes,
            "device_used_bytes": self.use.device_used_bytes,
            "device_total_bytes": self.use.device_total_bytes,
            "power_w": self.use.power_w,
            "workers": [one.to_dict() for one in self.use.workers],
            "advice": None if advice is None else {**advice[1].to_dict(), "over": advice[0]},
            "refused": dict(look.refused),
        }
