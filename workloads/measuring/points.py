"""Which kind of point of a sweep is measured by which function."""

from collections.abc import Mapping

from workloads.measuring.attention_folder import measure_attention
from workloads.measuring.costs_folder import measure_costs
from workloads.measuring.evaluation_folder import measure_openclip, measure_untrained
from workloads.measuring.open_set_folder import measure_open_set
from workloads.measuring.zero_shot_folder import measure_zero_shot
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

ON_A_DEVICE = ("untrained", "openclip", "attention", "costs")
"""Kinds that compute on a device, in the process that measures."""


def measure_point(
    kind: str, spec: ExperimentSpec, target: RunFolder, data: Folder, uses: Mapping[str, str], model: str
) -> None:
    """Measure a point in this process.

    Args:
        kind: of the point.
        spec: whose towers, recipe and seed it has.
        target: its folder, which has begun.
        data: prepared data set.
        uses: addresses of the folders that it reads, by what for.
        model: of the kind `openclip`, which.
    """
    used, folder = {what: Folder(address) for what, address in uses.items()}, target.folder
    match kind:
        case "untrained":
            measure_untrained(target, data)
        case "openclip":
            measure_openclip(model, data, folder, spec.recipe)
        case "open_set":
            measure_open_set(used["run"], used.get("classifier"), folder, spec.recipe)
        case "bzsl":
            images, dna = uses["images"], uses.get("dna")
            made = folder.read_json("provenance.json")  # of the user's command, which is not this process's
            measure_zero_shot(images, dna, folder, spec.recipe, spec.seed, num_components=None, made=made)
        case "attention":
            measure_attention(used["run"], data, folder)
        case "costs":
            measure_costs(used.get("run"), data, folder)
