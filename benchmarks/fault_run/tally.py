"""What a fault run has found, counted by part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """
    One fault.

    Attributes:
        kind: traceback, signal, hang, wrong bytes, does not go on, touched outside.
        said: what the program wrote, or which bytes.
    """

    kind: str
    said: str


@dataclass
class Tally:
    """
    Counts of cases and of faults.

    Attributes:
        cases: by part.
        faults: part, how to repeat it, and the fault.
    """

    cases: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str, Fault]] = field(default_factory=list)

    def add(self, part: str, fault: Fault | None, repeat: str) -> None:
        """Count a case."""
        self.cases[part] += 1
        if fault is not None:
            self.faults.append((part, repeat, fault))
            print(f"{part}, {repeat}: {fault.kind}: {fault.said[-300:]}", flush=True)

    def table(self) -> str:
        """Return the counts as a Markdown table."""
        kinds = ("wrong bytes", "touched outside", "traceback", "signal", "hang", "does not go on")
        rows = [f"| part | cases | {' | '.join(kinds)} |", "|---|---:" + "|---:" * len(kinds) + "|"]
        for part, cases in self.cases.items():
            found = Counter(fault.kind for name, _, fault in self.faults if name == part)
            rows.append(f"| {part} | {cases} | " + " | ".join(str(found[kind]) for kind in kinds) + " |")
        return "\n".join(rows)
