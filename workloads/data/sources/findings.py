"""What a reader noticed and did not hide: counts by kind, each with a few examples."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_KEPT_EXAMPLES = 3


@dataclass(slots=True)
class Findings:
    """Counts by kind, each with at most three examples; plain numbers and texts, so that they cross processes."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count something once more, or `count` times.

        Args:
            kind: what it is, in words that stand behind a number.
            example: one of them; the first three are kept, each once.
            count: how many of them there are.
        """
        self.counts[kind] += count
        kept = self.examples.setdefault(kind, [])
        if len(kept) < _KEPT_EXAMPLES and example and example not in kept:
            kept.append(example)

    def as_json(self) -> Mapping[str, Mapping[str, object]]:
        """Count and examples of each kind."""
        return {kind: {"count": count, "examples": self.examples[kind]} for kind, count in self.counts.items()}

    def sentences(self) -> list[str]:
        """One line a kind, as a person reads it."""
        return [f"{count:,} {kind}{_such_as(self.examples[kind])}" for kind, count in self.counts.items()]


def _such_as(examples: list[str]) -> str:
    return f" (such as {'; '.join(examples)})" if examples else ""
