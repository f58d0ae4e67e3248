"""Every table of the paper: its rows as sweeps declare them or the paper prints them, and who stands in which.

Runs of other data sets, scales and recipes stand on sheets of their own. Within a row only runs that differ in nothing
but their seed are averaged; of others the newest stay, and the sheet says how many were left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from results.layout import percent
from results.paper.cells import Filling, Group, SheetLine
from results.paper.data_statistics import COUNTED, data_sheets
from results.published import published_table
from results.run import Run, read_named
from results.runs import AskedRow, Runs
from results.sheet import Sheet
from sweeps import SWEEPS
from sweeps.table import PLAIN, Row, Table, Value, in_order, is_statistic, standing_of
from workloads.calibration import AREA
from workloads.continued import told
from workloads.errors import DamagedError, UsageError
from workloads.record import EVALUATION, RunFolder
from workloads.storage import Folder

NUMBERS = range(1, 21)
"""The paper's tables."""
SYNTHETIC = "Ours are numbers of SYNTHETIC insects: they show that the pipeline works, not how CLIBD performs."
_SMALL = "Scale small: small towers from scratch and a tenth of the batch."
_NOTHING = "Nothing of ours stands here yet."
_HEADERS = {
    **{"amp": "AMP", "batch_size": "Batch", "simclr_initialised": "From SimCLR", "bind_to": "DNA bound to"},
    **{f"dna_{name}": f"DNA {name.replace('_', ' ')}" for name in ("encoder", "pretraining", "fine_tuning")},
}
_NOT_SAID = object()


def table_sheets(number: int | str, runs: Folder | Runs | None, folders: Sequence[Folder] = ()) -> list[Sheet]:
    """A table of the paper, or one of our own by its name: a sheet for each data set, scale and recipe.

    Args:
        number: 1 to 20, or the name of a table that the paper lacks.
        runs: folder of the sweeps' runs; None where single folders are named.
        folders: evaluated ones, which stand beside.

    Raises:
        UsageError: there is no such table.
        MissingPathError: one of the folders is no evaluated one.
        DamagedError: the only folder is damaged; of several it is left out.
    """
    known = Runs(runs) if isinstance(runs, Folder) else runs
    if number in COUNTED:
        return data_sheets(int(number), known.folder if known else None)
    if number not in declared():
        own = ", ".join(str(name) for name in declared() if name not in NUMBERS)
        raise UsageError(f"there is no table {number}; there are 1 to 20 of the paper, and of our own {own}")
    sweep, table = declared()[number]
    return sheets_of(table, sweep, known, folders)


@cache
def declared() -> Mapping[int | str, tuple[str, Table]]:
    """Every declared table by its number, with the first sweep that fills it."""
    pairs = [(sweep.name, table) for sweep in SWEEPS.values() for table in sweep.tables]
    return {table.number: (sweep, table) for sweep, table in reversed(pairs)}


def sheets_of(table: Table, sweep: str, runs: Runs | None, folders: Sequence[Folder] = ()) -> list[Sheet]:
    """The sheets of a declared table, also of a sweep that only its user knows."""
    named, damaged = _read_folders(folders, alone=runs is None)
    members = [*(_of_sweep(table, sweep, runs) if runs else ()), *named]
    checked = [(member, _reason_against(table, member)) for member in members]
    placed = [member for member, reason in checked if reason is None]
    absent = [f"{member.id}: {reason}" for member, reason in checked if reason and not member.sweep]
    notes = [*table.notes, *(f"Not in this table: {text}" for text in absent)]
    notes += [f"{run.name} is left out: {run.problem}" for run in (runs.unreadable if runs else ())]
    notes += [f"{name} is left out: {reason}" for name, reason in damaged.items()]
    groups = _grouped(placed) or [Group("", "", "paper", "", ())]
    titles = Counter(group.title for group in groups)  # two data sets under one name are told apart
    groups = [replace(group, twin=titles[group.title] > 1) for group in groups]
    sheets = [_sheet(table, Filling(table, sweep, group, runs), notes) for group in groups]
    damaged |= _damaged(members, runs, any(is_statistic(c.where) for block in table.blocks for c in block.columns))
    return [replace(sheet, damaged=damaged) for sheet in sheets]


def _read_folders(folders: Sequence[Folder], alone: bool) -> tuple[list[AskedRow], dict[str, str]]:
    """What stands for named folders, and those that are damaged with the reason.

    Raises:
        DamagedError: there is nothing else to show.
    """
    once, named, damaged = {folder.address: folder for folder in folders}, list[AskedRow](), dict[str, str]()
    for folder in once.values():
        try:
            named += [_named(run) for run in read_named(folder)]
        except DamagedError as error:
            damaged[folder.address] = str(error)
            if alone and len(damaged) == len(once):
                raise
    return named, damaged


def _damaged(members: Sequence[AskedRow], runs: Runs | None, with_logs: bool) -> dict[str, str]:
    """Runs, and other files under their folder, that could not be read, with the reason."""
    read = [*(member.run for member in members if member.run), *(runs.unreadable if runs else ())]
    found = {run.name: str(run.problem) for run in read if run.is_damaged}
    logs = {run.name: run.log_problem for run in read if with_logs and not run.problem and run.log_problem}
    return {**found, **logs, **(runs.damaged if runs else {})}


def _sheet(table: Table, filling: Filling, notes: Sequence[str]) -> Sheet:
    group = filling.group
    lines = _lines(table, group)
    kept = {id(member) for line in lines for member in line.members}
    left = [one for one in group.members if one.has_numbers and id(one) not in kept]
    num_old = sum(any(_stands(table, line.row, member) for line in lines) for member in left)
    older = [f"{num_old} older run(s) with another spec were left out."] if num_old else []
    stopped = {run.name: told(run.source) for line in lines for run in line.runs}
    gone_on = [f"{name}: {words}." for name, words in stopped.items() if words]
    about = [f"Ours: {group.title}", *([SYNTHETIC] if group.synthetic else []), *([_SMALL] * (group.scale == "small"))]
    return Sheet(
        title=f"Table {table.number}. {table.caption}" if isinstance(table.number, int) else table.caption,
        cells=tuple(filling.cells(lines)),
        about=tuple(about) if group.members else (_NOTHING,),
        notes=(*notes, *_thresholds(lines), *gone_on, *older),
        headers=_HEADERS,
        show_rank=len(table.levels) > 1,
    )


def _thresholds(lines: Sequence[SheetLine]) -> Iterator[str]:
    """How the thresholds of open-set recognition were found."""
    for line in lines:
        for run in line.runs[:1]:
            if threshold := run.facts.get("thresholds", {}).get(line.row.where.get("method")):
                value = "every query is called seen" if threshold["value"] is None else f"{threshold['value']:.4f}"
                kind = "all that differ" if threshold["rule"] == "exact" else "evenly from 0 to 1"
                reached = f"with a harmonic mean of {percent(threshold['harmonic_mean'])} on validation"
                if not threshold["harmonic_mean"]:
                    reached = "of which none names both a seen and an unseen species of validation rightly"
                tried = f"chosen among {threshold['num_tried']:,} ({kind}), {reached}"
                what = "Constant" if line.row.where["method"].endswith("_calibrated") else "Threshold"
                area = run.find({"method": line.row.where["method"], "metric": AREA, "partition": "test"})
                under = f"; area of seen against unseen accuracy on test {percent(area.value)}" if area else ""
                yield f"{what} of {line.row.where['method']}: {value}; {tried}{under}."


# --- Who stands in a table ----------------------------------------------------------------------------------------


def _of_sweep(table: Table, sweep: str, runs: Runs) -> list[AskedRow]:
    names = {sweep, *(name for name, other in SWEEPS.items() if table in other.tables)}
    asked = [one for one in runs.asked if one.sweep in names and one.row]
    read = runs.read([one.id for one in asked if one.id])
    return [replace(one, run=read.get(one.id or "")) for one in asked]


def _named(run: Run) -> AskedRow:
    """What a named folder stands for; other models have no scale, and stand beside runs of every one."""
    facts, spec, row = run.facts, run.spec, _row_of(run)
    return AskedRow(
        sweep="",
        id=run.name,
        row=row,
        label=_label_of(run, row),
        scale=str(run.point.get("scale", "")),
        dataset=str(facts.get("dataset", "")),
        fingerprint=str(facts.get("data_fingerprint", "")),
        synthetic=bool(facts.get("synthetic")),
        seed=spec.seed if spec else 42,
        run=run,
    )


def _row_of(run: Run) -> dict[str, Value]:
    """The row of a named folder.

    Raises:
        DamagedError: the folder of another model does not say what that aligns.
    """
    facts, spec = run.facts, run.spec
    if "source" in facts:  # Bayesian zero-shot learning: which features, as the command was given them
        image, dna = (str(name).rpartition("/")[2] for name in (facts["source"], facts["dna"] or facts["source"]))
        return {"image_encoder": image, "dna_encoder": dna, "method": "BZSL", "strategy": "IS+DU"}
    if spec is not None:
        return standing_of(spec, bool(facts.get("untrained")), _from_simclr(spec.image.weights))
    try:
        return {**PLAIN, "model": str(facts["model"]), "training": "clip", "aligned": in_order(facts["aligned"])}
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{run.folder}/{EVALUATION}", "it does not say which modalities its model aligns") from error


def _from_simclr(weights: str | None) -> bool | None:
    """Whether a folder, which specs of earlier versions name, is one of SimCLR; None where it is not there."""
    if weights is None or ":" in weights or not Folder(weights).has("spec.json"):
        return None
    try:
        return RunFolder(Folder(weights)).spec().objective == "simclr"
    except (DamagedError, OSError):
        return None


def _label_of(run: Run, row: Mapping[str, Value]) -> str:
    """The run, and what a reader of its row must know of it."""
    facts, spec = run.facts, run.spec
    if spec is None:
        about = [f"{facts[name]} {name}" for name in ("prompts", "precision") if name in facts]
        about += [f"labels of {str(facts['label']).replace('_', ' ')}"] if "label" in facts else []
        return ", ".join([str(facts.get("weights", facts.get("model", run.name))), *about])
    label = str(run.point.get("label") or run.name)
    weights = spec.image.weights or "nothing"
    frozen = f", frozen towers from {weights if ':' in weights else weights.rpartition('/')[2]}"
    return f"{label}{', untrained' if facts.get('untrained') else frozen if row.get('frozen') else ''}"


def _reason_against(table: Table, member: AskedRow) -> str | None:
    """Why a member has no row in a table; its measurements tell what it does not say, where rows have any."""
    row = member.row
    for name, wanted in table.takes.items():
        if row.get(name, _NOT_SAID) != wanted:
            return f"its {name.replace('_', ' ')} is {_word(row.get(name))}, and this table takes {_word(wanted)}"
    unsaid = [name for name in table.row_fields if name not in row]
    if unsaid and not any(_tells(table, line, member) for line in table.rows or ()):
        if any(line.where for line in table.rows or ()):
            return "nothing of it was measured there; `clibd open-set RUN` and `clibd bzsl RUN` do"
        return f"it does not say its {' and '.join(unsaid).replace('_', ' ')}"
    return None


def _word(value: Value) -> str:
    return "+".join(value) or "none" if isinstance(value, tuple) else str(value)


def _tells(table: Table, row: Row, member: AskedRow) -> bool:
    place = {**row.where, "partition": table.partition}
    return bool(row.where) and member.run is not None and member.run.find(place) is not None


def _stands(table: Table, row: Row, member: AskedRow) -> bool:
    said = [member.row[name] == value for name, value in row.names.items() if name in member.row]
    return all(said) and (len(said) == len(row.names) or _tells(table, row, member))


def _grouped(members: Sequence[AskedRow]) -> list[Group]:
    """By data set, scale and recipe, in the order of first sight.

    Other models have no scale, and impossible rows no run: they stand beside those that they could have been with.
    """
    by_place: dict[tuple[str, str, str, str], list[AskedRow]] = defaultdict(list)
    for member in members:
        recipe = (member.run.recipe if member.run and member.has_numbers else "") or member.recipe
        by_place[member.dataset, member.fingerprint, member.scale, recipe].append(member)
    loose = {key for key, own in by_place.items() if key[2] == "" or all(not one.run and one.impossible for one in own)}
    fixed = [key for key in by_place if key not in loose]
    beside = {key: [one for other in loose if _fits(other, key) for one in by_place[other]] for key in fixed}
    alone = [key for key in by_place if key in loose and not any(_fits(key, other) for other in fixed)]
    return [
        Group(*key[:2], key[2] or "paper", key[3], (*by_place[key], *beside.get(key, ()))) for key in (*fixed, *alone)
    ]


def _fits(loose: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> bool:
    """Whether members without a scale, or without a data set of their own, stand on the sheet of another group."""
    return loose[3] == other[3] and (loose[:2] == other[:2] if loose[2] == "" else loose[2] == other[2])


# --- Its lines ----------------------------------------------------------------------------------------------------


def _lines(table: Table, group: Group) -> list[SheetLine]:
    sheet_lines = []
    for row in _rows(table, group):
        mine = [member for member in group.members if _stands(table, row, member)]
        asked = [member for member in mine if member.sweep]
        newest = _alike([member for member in asked if member.has_numbers])[:1] or [tuple(asked[:1])] * bool(asked)
        lines = [*newest, *_alike([member for member in mine if not member.sweep])] or [()]
        sheet_lines += [SheetLine(row, members) for members in lines]
        untrained = [SheetLine(row, members, "untrained") for members in lines]
        sheet_lines += [line for line in untrained if any(run.find({"queries": "untrained"}) for run in line.runs)]
    return sheet_lines


def _rows(table: Table, group: Group) -> list[Row]:
    """As declared; or as printed, and then ours that the paper lacks."""
    if table.rows is not None:
        return list(table.rows)
    entries = published_table(table.number) if isinstance(table.number, int) else ()
    printed = [{name: entry.where.get(name) for name in table.row_fields} for entry in entries]
    asked = [{name: member.row[name] for name in table.row_fields} for member in group.members]
    rows = {tuple(names.items()): Row(names, published=names in printed) for names in (*printed, *asked)}
    return list(rows.values())


def _alike(members: Sequence[AskedRow]) -> list[tuple[AskedRow, ...]]:
    """Members that differ in their seed alone, together; those of the newest first. Of one seed the newest counts."""
    by_spec: dict[str, dict[int, AskedRow]] = {}
    again: list[tuple[AskedRow, ...]] = []
    begun = {id(member): str(member.run.source.get("started", "")) if member.run else "" for member in members}
    for member in sorted(members, key=lambda member: begun[id(member)], reverse=True):
        unnamed = f"{member.kind} {'' if member.sweep else member.label}"
        seeds = by_spec.setdefault((member.run.but_for_seed if member.run else None) or unnamed, {})
        if member.seed in seeds:
            again.append((member,))
        seeds.setdefault(member.seed, member)
    return [*(tuple(seeds[seed] for seed in sorted(seeds)) for seeds in by_spec.values()), *again]
