"""Run folders to make pages of, as tables are tested with."""

from tests.results.conftest import amp_points as amp_points
from tests.results.conftest import golden_runs as golden_runs
from tests.results.conftest import runs as runs
from tests.results.conftest import write_run as write_run
