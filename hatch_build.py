"""Puts the commit into wheels and archives, which have no `.git`: see `workloads/source_tree.py`."""

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds workloads/COMMIT; an editable install has the checkout itself."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatch before it builds."""
        source = runpy.run_path(str(Path(self.root, "workloads", "source_tree.py")))
        name = source["COMMIT_FILE"]
        line = source["commit_line"](Path(self.root))
        if version != "editable" and line:
            self._scratch = tempfile.TemporaryDirectory(prefix="clibd-build-")
            file = Path(self._scratch.name, "COMMIT")
            file.write_text(line, encoding="utf-8")
            build_data["force_include"][str(file)] = name
