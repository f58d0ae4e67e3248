"""A folder on a disk or in an object store, in which nothing is ever seen half-written.

Local files are written beside their place and renamed; object stores show an object only when it is complete.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from workloads.disk_errors import NO_ROOM, named, naming
from workloads.errors import AlteredError, DamagedError, OutsideError, SecretInAddressError, first_line
from workloads.leftovers import aside_of
from workloads.naming import in_address, is_inside
from workloads.parquet_footer import EXTENSION_REFUSAL, footer_of, has_extension_types, is_altered
from workloads.plain_values import parsed


class Folder:
    """A folder given as a path or as an address such as ``s3://bucket/runs``.

    What is looked up in it or written by a name, of one part or several, lies in it; else that is an OutsideError.
    """

    def __init__(self, address: str | Path, called: str | None = None) -> None:
        """Open it; the folder itself need not be there.

        Args:
            address: where it is.
            called: its address for whoever reads of it, where that is another one: a copy is called as its original.

        Raises:
            SecretInAddressError: a key or a password is in the address, and would be in logs and in `ps`.
            OSError: the store cannot be reached.
        """
        text = str(address).rstrip("/") or "/"
        if "://" in text:
            if holds_secret(text):
                raise SecretInAddressError(masked(text))
            with naming(text):
                self._fs, self.path = pafs.FileSystem.from_uri(text)
            self.address = text
        else:
            self.path = str(Path(os.path.expanduser(text)).absolute())
            self._fs, self.address = pafs.LocalFileSystem(), self.path
        self.address = called or self.address

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "Folder":
        self._inside(name)
        address, settings = self._parts()
        inside = f"{address}/{in_address(name) if '://' in address else name}{settings}"
        return Folder(f"{self.path}/{name}" if self.is_local else inside, inside)

    def _inside(self, name: str) -> str:
        """The path of something in it."""
        if not is_inside(name):
            raise OutsideError(self.address, name)
        return f"{self.path}/{name}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self.path.rpartition("/")[2])

    @property
    def parent(self) -> "Folder":
        """The folder that it lies in; of a bucket the bucket."""
        address, settings = self._parts()
        above = f"{address.rpartition('/')[0]}{settings}" or "/"
        return Folder(self.path.rpartition("/")[0] if self.is_local else above, above) if "/" in self.path else self

    def _parts(self) -> tuple[str, str]:
        """The address, and settings such as `?region=us-east-1` that come after it."""
        address, mark, settings = self.address.partition("?") if "://" in self.address else (self.address, "", "")
        return address, mark + settings

    def store_settings(self) -> tuple[str, dict[str, Any]]:
        """pyarrow's name of the file system, and the settings that it was opened with."""
        return self._fs.type_name, self._fs.__reduce__()[1][0] if not self.is_local else {}

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a disk of this machine."""
        return isinstance(self._fs, pafs.LocalFileSystem)

    def has(self, name: str) -> bool:
        """Whether the folder holds a file of this name."""
        return is_inside(name) and bool(self._fs.get_file_info(f"{self.path}/{name}").type == pafs.FileType.File)

    def folders(self) -> list[str]:
        """Names of the folders directly inside, sorted; empty when this folder does not exist."""
        return self._names(pafs.FileType.Directory)

    def files(self) -> list[str]:
        """Names of the files directly inside, sorted; empty when this folder does not exist."""
        return self._names(pafs.FileType.File)

    def _names(self, kind: pafs.FileType) -> list[str]:
        infos = self._fs.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        names = []
        for info in infos:
            with suppress(UnicodeDecodeError):  # none of ours: no name of ours is anything but UTF-8
                if info.type == kind and is_inside(info.base_name):
                    names.append(info.base_name)
        return sorted(names)

    def walk(self, skipped: Collection[str] = ()) -> list[str]:
        """Names of all files below, relative to this folder; folders directly inside may be skipped."""
        inner = {name: (self / name).walk() for name in self.folders() if name not in skipped}
        return [*self.files(), *(f"{folder}/{name}" for folder, names in inner.items() for name in names)]

    def read(self, name: str) -> bytes:
        """Whole content of a file."""
        with self._fs.open_input_stream(self._inside(name)) as stream:
            return bytes(stream.read())

    def digest(self, name: str) -> str:
        """SHA-256 of a file, which is never in memory whole."""
        with self._fs.open_input_stream(self._inside(name), compression=None) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        size: int | None = self._fs.get_file_info(self._inside(name)).size
        return size

    def written(self, name: str) -> float | None:
        """When a file was last written, in seconds since 1970 by the clock of the disk or store; None of none."""
        nanoseconds: int | None = self._fs.get_file_info(self._inside(name)).mtime_ns
        return None if nanoseconds is None else nanoseconds / 1e9

    def copy_to(self, name: str, path: Path) -> None:
        """Copy a file to a disk of this machine, piece by piece."""
        pafs.copy_files(
            self._inside(name), str(path), source_filesystem=self._fs, destination_filesystem=pafs.LocalFileSystem()
        )

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file whole or not at all."""
        target = self._inside(name)
        if not self.is_local:
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)
            return
        with self.aside(name, memoryview(content).nbytes) as aside:
            Path(aside).write_bytes(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.has(name):
            self._fs.delete_file(self._inside(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder and what is in it, if it is there."""
        if self._fs.get_file_info(self._inside(name)).type == pafs.FileType.Directory:
            self._fs.delete_dir(self._inside(name))

    def read_json(self, name: str) -> Any:
        """A JSON file.

        Raises:
            DamagedError: the file is not JSON.
        """
        try:
            return parsed(self.read(name))
        except ValueError as error:
            raise DamagedError(f"{self}/{name}", f"not JSON ({error})") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON, readable and with sorted keys."""
        self.write(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def open_parquet(self, name: str) -> pq.ParquetFile:
        """A Parquet file, of which nothing but the footer has been read.

        Raises:
            DamagedError: the file is not Parquet, or carries extension types, which could make a reader run code.
            AlteredError: its footer is not the one that was sealed.
        """
        with self._reading_parquet(name):
            file = self._opened(name)
            footer = footer_of(file)
            if has_extension_types(footer):
                raise DamagedError(f"{self}/{name}", EXTENSION_REFUSAL)
            if is_altered(footer):
                raise AlteredError(f"{self}/{name}", "its footer is not what was written", str(self))
            return pq.ParquetFile(file, page_checksum_verification=True)

    def _opened(self, name: str) -> pa.NativeFile:
        """A file to be read from anywhere in it."""
        return self._fs.open_input_file(self._inside(name))

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file.

        Raises:
            DamagedError: the file is not Parquet, or no longer what was written.
        """
        with self._reading_parquet(name), self.open_parquet(name) as file:
            return file.read(columns=columns)

    @contextmanager
    def _reading_parquet(self, name: str) -> Iterator[None]:
        """Tells a damaged file from a disk that fails."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            # Arrow reports broken pages as an OSError without a number; one with a number is about the disk.
            if isinstance(error, OSError) and (error.errno is not None or not self.is_local):
                raise
            raise DamagedError(f"{self}/{name}", f"not Parquet ({first_line(error)})") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file whole or not at all."""
        sink = pa.BufferOutputStream()
        with parquet_into(sink, table.schema) as writer:
            writer.write_table(table)
        self.write(name, sink.getvalue().to_pybytes())

    def _put(self, aside: Path, target: str) -> None:
        """Let what was written beside become a file of this folder."""
        if not self.is_local:
            pafs.copy_files(str(aside), target, destination_filesystem=self._fs)
            return
        with open(aside, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(aside, target)

    @contextmanager
    def aside(self, name: str, wanted: int | None = None) -> Iterator[str]:
        """A local path whose content becomes the file of this name when the block ends well, and not otherwise.

        Args:
            name: in this folder.
            wanted: bytes that the file will have, where that is known.

        Raises:
            OSError: it cannot be written; the error says where, how much is needed and free, and what helps.
        """
        target = self._inside(name)
        with naming(target if self.is_local else tempfile.gettempdir()):
            aside = aside_of(Path(target) if self.is_local else Path(tempfile.gettempdir(), Path(name).name))
        try:
            yield str(aside)
            with naming(target):
                self._put(aside, target)
        except OSError as error:
            if error.errno in NO_ROOM or error.filename == str(aside):
                raise named(error, target if self.is_local else str(aside), wanted) from error
            raise
        finally:
            aside.unlink(missing_ok=True)


def parquet_into(sink: str | pa.NativeFile, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Writes Parquet as all of ours is: compressed, and each page with a checksum, which readers compare."""
    return pq.ParquetWriter(sink, schema, **{"compression": "zstd", "write_page_checksum": True, **options})


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Only one process of this machine at a time; the others wait."""
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """Where this machine keeps copies: $CLIBD_CACHE, or the user's cache folder. It may be removed between runs."""
    if given := os.environ.get("CLIBD_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clibd"


def read_file(folder: Folder, name: str) -> bytes:
    """A file that should be there.

    Raises:
        DamagedError: it is gone, or the disk cannot read it.
        OSError: the store cannot be read now.
    """
    with naming(f"{folder}/{name}"):
        try:
            return folder.read(name)
        except FileNotFoundError as error:
            raise DamagedError(f"{folder}/{name}", "it is gone") from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedError(f"{folder}/{name}", f"it cannot be read ({error})") from error


# --- Secrets in addresses -----------------------------------------------------------------------------------------

_USER = re.compile(r"(\w+://)([^/?#@\s]+:(?!\d+[/?#]|\d+$)[^@\s]*)@")
"""`KEY:SECRET@`, also where the secret has slashes; a port is none."""
_SECRET_SETTING = re.compile("key|secret|token|passw|credential|sig$|signature", re.IGNORECASE)


def holds_secret(address: str) -> bool:
    """Whether a key, a password or a token stands in an address."""
    return masked(address) != address


def masked(text: str) -> str:
    """A text, of a command's argument for one, with `…` for what would be a secret in an address."""
    if "://" not in text:
        return text
    text = _USER.sub(r"\1…@", text)
    address, mark, settings = text.partition("?")
    secret = [name for name, value in parse_qsl(settings) if value != "…" and _SECRET_SETTING.search(name)]
    for name in secret:
        settings = re.sub(rf"(^|&)({re.escape(name)}=)[^&#]*", r"\1\2…", settings)
    return address + mark + settings
