"""`clibd costs`: Appendix D.4."""

from typing import Annotated

import typer

from commands.options import FormOption


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
    from dataclasses import asdict

    from orchestrator.costs import measure_costs
    from results.measured.costs import costs_sheet
    from results.render import render_sheets
    from workloads.storage import Folder

    of, labels = (None if address is None else Folder(address) for address in (run, data))
    found = measure_costs(of, labels, batch_size=batch)
    print(render_sheets([costs_sheet([asdict(cost) for cost in found])], form))
