"""The overview: what was asked and what came out, how far each sweep is, and what came of each published number."""

from collections import Counter
from collections.abc import Mapping, Sequence

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, Kind, Page
from results.dashboard.progress import SweepProgress, price_of, progress
from results.dashboard.summaries import CHIEF_WORDS, Summary, state_of, summaries
from results.layout import percent
from results.measured import FLOORS
from results.paper.tables import NUMBERS
from results.paper.verdicts import WORDS, Verdict, Word, verdicts
from results.sheet import Cell
from results.sweep_status import Standing
from workloads.errors import some_of


def _overview(catalog: Catalog, asked: Asked) -> Page:
    standings = catalog.standings
    known = summaries(catalog, standings)
    sweeps = progress(catalog)
    labels = {one.run: f"{one.label} of {one.sweep}" for one in reversed(standings) if one.run}
    synthetic = any(one.synthetic for one in known.values())
    total = {one.run: one.spent for one in known.values()}
    return Page(
        title="Overview",
        template="overview.html.j2",
        told={
            "folder": catalog.address,
            "came_out": _came_out(sweeps, known, labels) if sweeps else [],
            "best": _best(known),
            "sweeps": sweeps,
            "gpu_hours": sum(one.gpu_hours or 0.0 for one in total.values() if one),
            "price": price_of(asked),
            "verdicts": catalog.kept(("verdicts", catalog.now.tables_version), lambda: _verdicts(catalog)),
            "states": _states(standings, known),
        },
        scripts=("overview.js",),
        synthetic=synthetic,
    )


# --- What came out ------------------------------------------------------------------------------------------------


def _came_out(sweeps: Sequence[SweepProgress], known: Mapping[str, Summary], labels: Mapping[str, str]) -> list[str]:
    """What was asked and what came out, in sentences."""
    points = sum(one.num_points for one in sweeps)
    done = sum(one.groups.get("done", 0) for one in sweeps)
    asked = some_of([one.sweep for one in sweeps], 6)
    sentences = [f"{_many(len(sweeps), 'sweep')} asked for {_many(points, 'point')} ({asked}); {done:,} are done."]
    broken = [one.run for one in known.values() if one.is_damaged]
    if broken:
        sentences.append(f"Damaged, and not counted as done: {_many(len(broken), 'run')}.")
    best = _best(known)
    if best is None or best.chief is None:
        sentences.append("No run has been measured by images asking for DNA yet.")
    else:
        chief = best.chief
        ends = f" (95 % interval {percent(chief.low)} to {percent(chief.high)})" if chief.low is not None else ""
        sentences.append(
            f"The best run by {CHIEF_WORDS}, is {labels.get(best.run, best.run)} (seed {best.fields.get('seed')}), "
            f"on {best.dataset}{' (SYNTHETIC)' if best.synthetic else ''}: "
            f"{percent(chief.value)} %{ends}, n = {chief.count:,} species; {_beside(best)}."
        )
    datasets = sorted({one.dataset for one in known.values() if one.synthetic and one.dataset})
    if datasets and not all(one.synthetic for one in known.values() if one.dataset):  # of all, the banner says it
        sentences.append(f"Numbers on {', '.join(datasets)} are of SYNTHETIC specimens.")
    return sentences


def _best(known: Mapping[str, Summary]) -> Summary | None:
    """The best run; one on real specimens before those on synthetic ones."""
    measured = [one for one in known.values() if one.chief]
    return max(measured, key=lambda one: (not one.synthetic, one.chief.value if one.chief else 0.0), default=None)


def _beside(best: Summary) -> str:
    told = [f"{FLOORS[method]} {percent(found.value)} %" for method, found in best.beside.items()]
    return ", ".join(told) if told else "neither chance nor a floor is measured beside it"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


# --- Published numbers --------------------------------------------------------------------------------------------


def _verdicts(catalog: Catalog) -> list[tuple[Word, int, list[tuple[str, int]], list[tuple[str, int]]]]:
    """Each verdict: how many published numbers, the commonest reasons, and how many by table."""
    found = verdicts([sheet for number in NUMBERS for sheet in catalog.sheets(number)])
    by_word: dict[Word, list[tuple[Cell, Verdict]]] = {word: [] for word in WORDS if word != "no published number"}
    for cell, said in found:
        by_word[said.word].append((cell, said))
    return [
        (
            word,
            len(own),
            Counter(said.why for _, said in own if said.why).most_common(),
            sorted(Counter(cell.table for cell, _ in own).items(), key=lambda pair: int(pair[0])),
        )
        for word, own in by_word.items()
    ]


# --- States, for what has changed since the last visit --------------------------------------------------------------


def _states(standings: Sequence[Standing], known: Mapping[str, Summary]) -> list[tuple[str, str, str, str]]:
    """Id, label, sweep and state of every run that has begun."""
    return [(one.run, one.label, one.sweep, state_of(one, known)) for one in standings if one.run and one.folder]


KINDS = (Kind(name="overview", make=_overview, options={"price": ""}, listed=lambda catalog: [Asked("overview")]),)
