"""Zero-shot learning as the paper prints it: seen, unseen and their harmonic mean, with the published rows beside."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from results.published import find_published
from results.render import INTERVALS, Format, grid, percent
from workloads.record import Measurement
from workloads.spec import RANKS

PARTS = ("seen", "unseen", "harmonic_mean")
_METHODS = {"bzsl": "BZSL, ours", "nearest_class_mean": "nearest class mean", "random_key": "random species"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; accuracies in [0, 1]."""

    level: str
    average: str
    method: str
    seen: float | None
    unseen: float | None
    harmonic_mean: float | None
    seen_low: float | None = None
    """Lower end of the 95 % interval; None where there is none, as of published numbers."""
    seen_high: float | None = None
    unseen_low: float | None = None
    unseen_high: float | None = None
    harmonic_mean_low: float | None = None
    harmonic_mean_high: float | None = None

    def text(self, part: str) -> str:
        """A number in percent, with its interval."""
        value, low, high = (getattr(self, name) for name in (part, f"{part}_low", f"{part}_high"))
        return percent(value) if low is None or high is None else f"{percent(value)} [{percent(low)}, {percent(high)}]"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """Where the paper prints something comparable."""

    label: str
    tables: tuple[int, ...]
    where: Mapping[str, Any]


def _on_insect(dna: str, image: str, dna_tuned: str | None, image_tuned: str | None = None) -> PublishedRow:
    where = {
        "dna_encoder": dna,
        "image_encoder": image,
        "dna_fine_tuning": dna_tuned,
        "image_fine_tuning": image_tuned,
    }
    tuned = "" if dna.startswith("CNN") else ", fine-tuned on INSECT" if dna_tuned else ", not fine-tuned"
    return PublishedRow(f"published, Table 4: {dna} and {image}{tuned}", (4,), where)


def published_rows(images: str, dna: str) -> tuple[PublishedRow, ...]:
    """Rows of the paper for features of these origins.

    Args:
        images: `insect` (the published features), `run_on_insect`, `run_on_bioscan_1m`, or anything else.
        dna: the same, of the side information.
    """
    rows = {
        ("insect", "insect"): (_on_insect("CNN encoder", "RN-101", "INSECT"),),
        ("insect", "run_on_insect"): (
            _on_insect("CLIBD-D", "RN-101", None),
            _on_insect("CLIBD-D", "RN-101", "INSECT"),
        ),
        ("run_on_insect", "insect"): (_on_insect("CNN encoder", "CLIBD-I", "INSECT"),),
        ("run_on_insect", "run_on_insect"): (
            _on_insect("CLIBD-D", "CLIBD-I", None),
            _on_insect("CLIBD-D", "CLIBD-I", "INSECT", "INSECT"),
        ),
        ("run_on_bioscan_1m", "run_on_bioscan_1m"): (
            PublishedRow("published, Tables 3 and 16", (3, 16), {"method": "BZSL"}),
        ),
    }
    return rows.get((images, dna), ())


def table_lines(measurements: Sequence[Measurement], published: Sequence[PublishedRow]) -> list[Line]:
    """Lines by rank and average: ours, the published ones, and the baselines."""
    found = {(m.level, m.average, m.method, m.species): m for m in measurements if m.metric == "top1"}
    lines = []
    for level in RANKS:
        for average in ("micro", "macro"):
            ours = [
                _line(level, average, label, [found.get((level, average, method, part)) for part in PARTS])
                for method, label in _METHODS.items()
            ]
            lines += [ours[0], *_published_lines(level, average, published), *ours[1:]]
    return [line for line in lines if line.seen is not None or line.unseen is not None]


def _line(level: str, average: str, label: str, parts: Sequence[Measurement | None]) -> Line:
    values = [None if part is None else part.value for part in parts]
    ends = [end for part in parts for end in ((None, None) if part is None else (part.low, part.high))]
    return Line(level, average, label, *values, *ends)


def _published_lines(level: str, average: str, published: Sequence[PublishedRow]) -> list[Line]:
    lines = []
    for row in published:
        for table in row.tables:
            place = {**row.where, "level": level, "average": average}
            found = [find_published(table, {**place, "species": part}) for part in PARTS]
            if any(found):
                lines.append(
                    Line(level, average, row.label, *(round(number.value, 6) if number else None for number in found))
                )
    return lines


def render_lines(lines: Sequence[Line], about: Mapping[str, Any], form: Format) -> str:
    """The table as text that ends without a line break.

    Args:
        lines: of the table.
        about: what else is known, for JSON; CSV has whether specimens are synthetic.
        form: md with percent, csv and json with shares.
    """
    if form == "json":
        return json.dumps({**about, "accuracies": [asdict(line) for line in lines]}, indent=1, ensure_ascii=False)
    if form == "csv":
        sink = io.StringIO()
        own = {"synthetic": about.get("synthetic", False)}
        writer = csv.DictWriter(sink, fieldnames=[*Line.__dataclass_fields__, *own], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(line), **own} for line in lines)
        return sink.getvalue().rstrip("\n")
    body = [[line.level, line.average, line.method, *map(line.text, PARTS)] for line in lines]
    table = grid(["Taxa", "Average", "Method", "Seen", "Unseen", "H.M."], body)
    return f"{table}\n\n{INTERVALS}" if any(line.seen_low is not None for line in lines) else table
