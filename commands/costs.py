"""`clibd costs`: what the towers cost, beside Appendix D.4."""

from dataclasses import asdict
from typing import Annotated

import typer

from commands.options import FormOption, print_sheets
from workloads.storage import Folder


def costs(
    run: Annotated[str | None, typer.Argument(help="Folder of a run. Default: the paper's towers.")] = None,
    data: Annotated[str | None, typer.Option(help="Prepared data set whose labels are measured for storage.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples of a timed batch. Default: 500 on a GPU, 4 without one.")
    ] = None,
    form: FormOption = "md",
) -> None:
    """Print what the towers cost, beside the paper's Appendix D.4: tokens, parameters, operations, bytes, time.

    Operations are counted on shapes, without weights or a GPU; times are measured here.
    """
    from results.measured import costs_sheet
    from workloads.measuring.costs_folder import measure_costs

    of, labels = (None if address is None else Folder(address) for address in (run, data))
    found = measure_costs(of, labels, batch_size=batch)
    print_sheets([costs_sheet([asdict(cost) for cost in found])], form)
