"""Where a local cluster of Ray keeps its files, and its token, on any machine and with any home.

Ray's sockets lie below RAY_TMPDIR, or TMPDIR, and a socket's path has at most 107 characters, which the scratch folders
of batch systems exceed. Ray writes its token into the home, readable by everybody.
"""

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workloads.host import room_at
from workloads.sockets import private_folder

_ROOM = 107 - len("/ray/session_2026-11-29_18-34-57_506732_4194304/sockets/dash_MetricsHead")
"""Characters of a folder below which Ray's sockets still fit."""


def ray_folder(say: Callable[[str], None]) -> dict[str, Any]:
    """Arguments of `ray.init` for where its files are: none where Ray's own choice works.

    Else its sockets and logs go to a folder of this user alone; what does not fit into memory still goes where it was
    to go, if it can.

    Args:
        say: told when it is another place.

    Raises:
        ClibdError: there is no place.
    """
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "RAY_TMPDIR")
    wanted = Path(os.environ.get(name) or "/tmp").absolute()
    short, writable = len(os.fsencode(wanted)) <= _ROOM, not room_at(wanted).refused
    if short and writable:
        return {}
    place = private_folder()
    why = "its path is too long for a socket" if writable else "it cannot be written"
    say(f"Ray's files are in {place}, and not in {wanted} ({name}): {why}")
    place /= "ray"  # which Ray opens for everybody
    return {"_temp_dir": str(place), **({"object_spilling_directory": str(wanted)} if writable else {})}


def token_of_local_clusters() -> None:
    """See to it that Ray finds a token that only this user can read; it would write one that everybody can.

    Where the home cannot be written the token is in a folder of this user alone.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        _only_ours(Path(named))
        return
    token = Path.home() / ".ray" / "auth_token"
    try:
        _make_token(token)
    except OSError:
        token = private_folder() / "auth_token"
        _make_token(token)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)


def _make_token(path: Path) -> None:
    """Make a token whole or not at all, unless there is one."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent)  # of mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(aside, path)
        except FileExistsError:  # another command was faster
            pass
        finally:
            os.unlink(aside)
    _only_ours(path)


def _only_ours(path: Path) -> None:
    """Take the permission to read from others, if the file is ours."""
    if path.exists() and path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o600)
