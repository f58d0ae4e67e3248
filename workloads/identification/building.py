"""Builds a database of a run and named specimens, or of barcodes alone: aside, sealed in the end, then put in place."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from workloads.command_line import Tell, unseen
from workloads.delimited_out import reject_list
from workloads.errors import AlteredError, SourceError, UsageError
from workloads.evaluation.trained_on import read_trained_on
from workloads.identification.card import write_card
from workloads.identification.database import (
    CALIBRATING,
    CALIBRATION,
    KEY_KINDS,
    RUN,
    Database,
    DatabaseFacts,
    KeyKind,
    write_facts,
)
from workloads.identification.embedding import Embedder, KmerEmbedder, RunEmbedder
from workloads.identification.material import Looks, Material, Stream, Trained, untrained
from workloads.identification.placing import Say, local, placed
from workloads.identification.writing import SpecimenWriter, Written, write_specimens
from workloads.models.loaded import LoadedModel, open_finished
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.seals import sealed_folder
from workloads.storage import Folder
from workloads.weight_files import MODEL

LEFT_OUT, OTHER_NAMES = "left_out.tsv", "other_names.tsv"
_OF_RUN = (
    "spec.json",
    "point.json",
    "inputs.json",
    MODEL,
    "tokenizer.json",
    "dna_tokenizer.json",
    "trained_on.parquet",
)
"""What of a run goes into a database: what `open_run` reads, and what it was trained on. Its provenance has paths and
commands of whoever trained it, which are nobody else's business."""
Calibrate = Callable[[Database, Tell], tuple[str, ...]]
"""Writes `calibration.parquet` into the folder of a database that is being made, from what is in `calibrating/` or, if
there is nothing, from its own keys; gives `DatabaseFacts.calibrated`."""


Showing = Callable[[str, str], AbstractContextManager[Tell]]
"""Shows a piece of work while it is done, by its name and the unit that it is counted in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doing:
    """How a database is made or changed."""

    calibrate: Calibrate | None = None
    """Writes the calibration; None: there is none."""
    showing: Showing = lambda what, unit: nullcontext(unseen(what, unit))
    on_remark: Say = lambda remark: None
    """Told of what a person should know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What only a person can say of a database."""

    name: str | None = None
    """None: that of what it is made of."""
    license: str = "unknown"
    cite: str = ""
    thumbnails: bool = False
    """Whether small images of its specimens are kept."""


@dataclass(frozen=True, slots=True)
class Base:
    """What makes keys: a run, or, without one, the counts of k-mers."""

    run: RunFolder | None
    embedder: Embedder
    trained: Trained
    looks: Looks | None
    """What it takes of images; None: nothing."""


def base_of(run: RunFolder | None, placement: Placement | None = None) -> Base:
    """What makes keys of a finished run, or without one.

    Raises:
        MissingPathError: the run is not finished.
        UsageError: it embeds neither images nor barcodes, or is a classifier.
        DamagedError: it is not what was written.
    """
    if run is None:
        return Base(None, KmerEmbedder(), untrained, None)
    loaded = open_finished(run)
    embedder = RunEmbedder(loaded, (placement or Placement()).device)
    if loaded.spec.objective == "classify" or not embedder.kinds:
        raise UsageError(f"{run.folder} aligns no images or barcodes with anything; name a run that does")
    return Base(run, embedder, trained_by(run), looks_of(loaded))


def trained_by(run: RunFolder) -> Trained:
    """Whether a run learned from specimens of a species; unknown of a run that did not keep it."""
    seen = read_trained_on(run)
    known = bool(seen.species) or not (seen.unknown or seen.declared)
    return lambda species: species in seen.species if known and species is not None else None


def looks_of(loaded: LoadedModel) -> Looks | None:
    """What a run takes of images."""
    if "image" not in loaded.spec.modalities:
        return None
    return "pictures" if loaded.inputs.image_feature_size is None else "features"


def build(
    target: str | Path,
    material: Material,
    base: Base,
    *,
    about: About | None = None,
    replace_it: bool = False,
    doing: Doing | None = None,
) -> Written:
    """Make a database, whole or not at all.

    Args:
        target: folder on a disk of this machine.
        material: the specimens.
        base: what makes keys of them.
        about: what else is to be said of it.
        replace_it: whether a database that is there is replaced.
        doing: how.

    Raises:
        UsageError: something is there that is not to be replaced.
        SourceError: not one specimen can be used.
        OSError: it cannot be written.
    """
    path, about, doing = local(target), about or About(), doing or Doing()
    with placed(path, replace=replace_it, on_remark=doing.on_remark) as folder:
        with (
            recorded(folder, base.embedder.kinds, about.thumbnails) as writer,
            doing.showing(f"Embedding {material.name}", "specimens") as tell,
        ):
            for some in material.known(tell, writer.leave_out):
                writer.embed(some, base.embedder)
        say_noticed(material, doing)
        if not (written := writer.written).num_specimens:
            raise SourceError(material.name, "", _nothing_left(written))
        facts = DatabaseFacts(
            name=about.name or path.name,
            model=base.run.id if base.run else None,
            weights=keep_run(base.run, folder / RUN) if base.run else None,
            **counts_of(written),
            synthetic=material.synthetic,
            sources=(material.name,),
            license=about.license,
            cite=about.cite,
        )
        if material.calibrating is not None:
            with doing.showing("Embedding what calibrates", "specimens") as tell:
                _write_calibrating(folder / CALIBRATING, material.calibrating, base.embedder, facts, tell)
        seal_database(folder, facts, doing)
    return written


def say_noticed(material: Material, doing: Doing) -> None:
    """Say what was noticed of specimens that have come."""
    for sentence in material.noticed():
        doing.on_remark(f"Noticed: {sentence}")


def _nothing_left(written: Written) -> str:
    first = f" (the first: {written.left_out[0][1]})" if written.left_out else ""
    return f"no specimen can be used{first}. A database takes named specimens with a barcode or, with a run, an image"


@contextmanager
def recorded(folder: Folder, kinds: Sequence[KeyKind], thumbnails: bool) -> Iterator[SpecimenWriter]:
    """Writes specimens, and lists beside them of those that were left out and whose barcode has two names."""
    with (
        reject_list(folder, LEFT_OUT) as left_out,
        reject_list(folder, OTHER_NAMES) as other_names,
        SpecimenWriter(folder, kinds, thumbnails=thumbnails, on_left_out=left_out, on_other_name=other_names) as writer,
    ):
        yield writer
    for name, count in ((LEFT_OUT, writer.written.num_left_out), (OTHER_NAMES, writer.written.num_other_names)):
        if not count:
            folder.remove(name)


def _write_calibrating(folder: Folder, known: Stream, embedder: Embedder, of: DatabaseFacts, tell: Tell) -> None:
    """Write the specimens that calibrate, a database in itself; nothing where none of them can be embedded."""
    Path(folder.address).mkdir()
    written = write_specimens(folder, known(tell, lambda identifier, reason: None), embedder)
    if written.num_specimens:
        write_facts(folder, replace(of, name=f"{of.name}, calibrating", **counts_of(written)))
    else:
        folder.parent.remove_folder(folder.name)


def keep_run(run: RunFolder, target: Folder) -> str:
    """Copy into a database what of a run makes keys, sealed anew; gives SHA-256 of its weights.

    Raises:
        AlteredError: it is not what was written.
    """
    source = sealed_folder(run.folder)
    Path(target.address).mkdir()
    for name in filter(source.has, _OF_RUN):
        source.copy_to(name, Path(target.address, name))
        if target.digest(name) != source.digest(name):
            raise AlteredError(f"{target}/{name}", "it is not what was copied", str(run.folder))
    RunFolder(target).finish("finished")
    return target.digest(MODEL)


def seal_database(folder: Folder, facts: DatabaseFacts, doing: Doing) -> None:
    """Calibrate a database whose other files are there, write what is said of it, and its facts last."""
    facts = replace(facts, made_with=metadata.version("clibd-ray"), made=time.strftime("%Y-%m-%d", time.gmtime()))
    if doing.calibrate is not None:
        write_facts(folder, facts)
        try:
            with doing.showing("Calibrating", "queries") as tell:
                calibrated = doing.calibrate(Database(folder.address), tell)
            facts = replace(facts, calibrated=calibrated, stale="")
        except (
            UsageError
        ) as error:  # as where there are too few specimens for any promise; names are found all the same
            doing.on_remark(f"It has no calibration, so that names come without a confidence: {error}")
            folder.remove(CALIBRATION)
    write_card(folder, facts)
    write_facts(folder, facts)


def counts_of(written: Written) -> dict[str, Any]:
    """What the facts of a database say of what was written."""
    return {
        "modalities": tuple(kind for kind in KEY_KINDS if kind in written.num_keys),
        "num_specimens": written.num_specimens,
        "num_keys": dict(written.num_keys),
        "num_taxa": {rank: len(names) for rank, names in written.taxa.items()},
        "num_without_name": dict(written.num_without_name),
        "num_left_out": written.num_left_out,
        "num_other_names": written.num_other_names,
    }
