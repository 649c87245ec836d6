"""Memory and power that a server takes on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmtp.machine.identity import ProcessId
from llmtp.machine.workers import is_connected
from llmtp.metrics.report import Lent, Use
from llmtp.text import clean
from llmtp.told import count

if TYPE_CHECKING:
    from llmtp.machine.host import ProcessMeter
    from llmtp.machine.nvml import CardMeter

_MOST_CARDS = 64
_ENGINES = ("llama", "vllm", "python")


def lent_by_worker(plan: Mapping[str, Any]) -> dict[str, int]:
    """What a plan, as an entry keeps it, has on each worker that it uses, in bytes by endpoint."""
    found = Counter[str]()
    for device in _devices(plan):
        if isinstance(at := device.get("worker"), str) and device.get("id") is not None:
            found[clean(at, 80)] += count(device.get("used_bytes")) or 0
    return dict(found)


def _devices(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    devices = plan.get("devices")
    listed = devices if isinstance(devices, list) else []
    return [one for one in listed if isinstance(one, dict)]


class Meter:
    """Memory and power, where the process and its cards are on this machine."""

    def __init__(
        self,
        pid: int | None,
        cards: Sequence[CardMeter],
        total_bytes: int | None,
        workers: Mapping[str, int] | None = None,
    ) -> None:
        """`workers` are bytes that are planned on each, by endpoint."""
        self._pid, self._workers = pid, workers or {}
        self._process: ProcessMeter | None = None
        self._cards = cards
        self._total_bytes = total_bytes
        if pid is not None:
            from llmtp.machine.family import Family
            from llmtp.machine.host import ProcessMeter

            self._process = ProcessMeter(Family(pid).largest(pid))

    @classmethod
    def nowhere(cls) -> Meter:
        """Of what is on another machine."""
        return cls(None, (), None)

    @classmethod
    def of_plan(cls, server: ProcessId | None, plan: Mapping[str, Any]) -> Meter:
        """Of the process and the cards that a plan uses, where the driver knows all of them."""
        devices = _devices(plan)
        workers = lent_by_worker(plan)
        near = [one for one in devices if one.get("worker") is None]
        used = [one for one in near if count(one.get("weights_bytes"))]
        numbers = [count(one.get("number")) for one in used]
        known = [one for one in numbers if one is not None]
        pid = server.pid if server is not None else None
        if not known or len(known) < len(used) or len(known) > _MOST_CARDS:
            return cls(pid, (), None, workers)
        from llmtp.machine.nvml import CardMeter

        totals = [count(one.get("total_bytes")) for one in used]
        sizes = [one for one in totals if one is not None]
        total = sum(sizes) if len(sizes) == len(used) else None
        return cls(pid, [CardMeter(one) for one in known], total, workers)

    @classmethod
    def at_port(cls, port: int) -> Meter:
        """Of who listens there on this machine, if that is an engine and not who passes on."""
        from llmtp.machine.detect import has_nvidia_driver
        from llmtp.machine.family import Family, listener

        found = listener(port)
        if found is None or not any(word in found[1].lower() for word in _ENGINES):
            return cls.nowhere()
        pid, _ = found
        if not has_nvidia_driver():
            return cls(pid, (), None)
        from llmtp.machine.nvml import cards_of

        cards = cards_of(Family(pid).pids)
        return cls(pid, cards, None)

    def use(self) -> Use:
        """Now; what is not known of all cards is not told."""
        return Use(
            None if self._process is None else self._process.rss_bytes(),
            _sum([card.used_bytes() for card in self._cards]),
            self._total_bytes,
            _sum([card.power_w() for card in self._cards]),
            tuple(self._lent()),
        )

    def _lent(self) -> Iterator[Lent]:
        if self._pid is None or not self._workers:
            return
        from llmtp.machine.family import Family

        ends = Family(self._pid).connected_to()
        for endpoint, planned in self._workers.items():
            yield Lent(endpoint, planned, is_connected(endpoint, ends))


def _sum(values: Sequence[Any]) -> Any:
    return sum(values) if values and None not in values else None
