"""Short folders for sockets, whose paths may have 107 characters: scratch folders of batch systems are longer.

Python's processes talk through sockets in a folder of TMPDIR, as those do that prepare batches, and Ray's dashboard.
"""

import os
import stat
import tempfile
from pathlib import Path

from workloads.errors import ClibdError
from workloads.host import room_at

_MOST = 107 - len("/pymp-12345678/listener-12345678")
"""Characters of a TMPDIR below which Python's sockets still fit."""


def sockets_fit() -> None:
    """See to it that Python's sockets, and those of processes that this one starts, find a folder short enough.

    Raises:
        ClibdError: there is none.
    """
    if len(os.fsencode(tempfile.gettempdir())) > _MOST:
        os.environ["TMPDIR"] = tempfile.tempdir = str(private_folder())


def private_folder() -> Path:
    """A short folder that only this user can enter.

    Raises:
        ClibdError: none can be made.
    """
    for parent in (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")):
        folder = parent / f"clibd-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not room_at(folder).refused:
            folder.chmod(0o700)
            return folder
    raise ClibdError(
        "Sockets need a folder with a short path, and neither /tmp nor /var/tmp can be written. Name one of at most "
        "35 characters: `export RAY_TMPDIR=DIR TMPDIR=DIR`."
    )
