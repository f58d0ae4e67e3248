"""What is read and loaded before anybody asks for it, so that the first readers do not wait for all of it."""

import gc
import threading
from contextlib import suppress
from importlib import import_module

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from results.dashboard.site.replies import reply_to
from results.run import UNREADABLE

_LATER = ("scipy.stats",)
"""Takes half a second, and pages with intervals of their own need it."""


def begin_warming(catalog: Catalog) -> None:
    """Make the overview, which reads every run, in a thread; whoever asks for it meanwhile waits for this one."""
    gc.disable()  # all that is loaded and read until then stays, and looking through it again and again takes a tenth
    threading.Thread(target=_warm, args=(catalog,), name="warming", daemon=True).start()


def _warm(catalog: Catalog) -> None:
    try:
        with suppress(*UNREADABLE):  # whoever asks is told
            reply_to(catalog, Asked("overview"))
    finally:
        gc.freeze()
        gc.enable()
    for library in _LATER:
        import_module(library)
