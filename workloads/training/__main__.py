"""Training on one machine without Ray.

python -m workloads.training align --data DIR
torchrun --nproc-per-node 4 -m workloads.training align --data DIR
"""

import typer

from workloads.command_line import run_program
from workloads.training.command import train

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(train)

if __name__ == "__main__":
    run_program(app)
