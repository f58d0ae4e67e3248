"""A folder on a disk or in an object store, in which nothing is ever seen half-written.

Local files are written beside their place and renamed; object stores show an object only when it is complete.
"""

import base64
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from workloads.errors import DamagedError, SecretInAddressError


class Folder:
    """A folder given as a path or as an address such as ``s3://bucket/runs``."""

    def __init__(self, address: str | Path) -> None:
        """Open it; the folder itself need not be there.

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

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "Folder":
        address, settings = self._parts()
        return Folder(f"{address}/{name}{settings}")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self.path.rpartition("/")[2])

    @property
    def parent(self) -> "Folder":
        """The folder that it lies in; of a bucket the bucket."""
        address, settings = self._parts()
        return Folder(f"{address.rpartition('/')[0]}{settings}") if "/" in self.path else self

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
        return bool(self._fs.get_file_info(f"{self.path}/{name}").type == pafs.FileType.File)

    def folders(self) -> list[str]:
        """Names of the folders directly inside, sorted; empty when this folder does not exist."""
        return self._names(pafs.FileType.Directory)

    def files(self) -> list[str]:
        """Names of the files directly inside, sorted; empty when this folder does not exist."""
        return self._names(pafs.FileType.File)

    def _names(self, kind: pafs.FileType) -> list[str]:
        infos = self._fs.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == kind)

    def walk(self, skipped: Collection[str] = ()) -> list[str]:
        """Names of all files below, relative to this folder; folders directly inside may be skipped."""
        inner = {name: (self / name).walk() for name in self.folders() if name not in skipped}
        return [*self.files(), *(f"{folder}/{name}" for folder, names in inner.items() for name in names)]

    def read(self, name: str) -> bytes:
        """Whole content of a file."""
        with self._fs.open_input_stream(f"{self.path}/{name}") as stream:
            return bytes(stream.read())

    def digest(self, name: str) -> str:
        """SHA-256 of a file, which is never in memory whole."""
        with self._fs.open_input_stream(f"{self.path}/{name}", compression=None) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def copy_to(self, name: str, path: Path) -> None:
        """Copy a file to a disk of this machine, piece by piece."""
        pafs.copy_files(
            f"{self.path}/{name}", str(path), source_filesystem=self._fs, destination_filesystem=pafs.LocalFileSystem()
        )

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file whole or not at all."""
        target = f"{self.path}/{name}"
        if not self.is_local:
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)
            return
        with self.aside(name) as aside:
            Path(aside).write_bytes(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.has(name):
            self._fs.delete_file(f"{self.path}/{name}")

    def remove_folder(self, name: str) -> None:
        """Remove a folder and what is in it, if it is there."""
        if self._fs.get_file_info(f"{self.path}/{name}").type == pafs.FileType.Directory:
            self._fs.delete_dir(f"{self.path}/{name}")

    def read_json(self, name: str) -> Any:
        """A JSON file.

        Raises:
            DamagedError: the file is not JSON.
        """
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{self}/{name}", f"not JSON ({error})") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON, readable and with sorted keys."""
        self.write(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def open_parquet(self, name: str) -> pq.ParquetFile:
        """A Parquet file, of which nothing but the footer has been read.

        Raises:
            DamagedError: the file is not Parquet, or carries extension types, which could make a reader run code.
        """
        with self._reading_parquet(name):
            file = self._fs.open_input_file(f"{self.path}/{name}")
            if has_extension_types(file):
                raise DamagedError(f"{self}/{name}", EXTENSION_REFUSAL)
            return pq.ParquetFile(file)

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
            raise DamagedError(f"{self}/{name}", f"not Parquet ({error})") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write(name, sink.getvalue().to_pybytes())

    @contextmanager
    def parquet_writer(self, name: str, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
        """Writes a Parquet file in pieces; it appears when the block ends well, whole, and not otherwise."""
        options = {"compression": "zstd", **options}
        with self.aside(name) as aside, pq.ParquetWriter(aside, schema, **options) as writer:
            yield writer

    @contextmanager
    def aside(self, name: str) -> Iterator[str]:
        """A local path whose content becomes the file of this name when the block ends well, and not otherwise."""
        target = f"{self.path}/{name}"
        here = Path(target) if self.is_local else Path(tempfile.gettempdir(), Path(name).name)
        here.parent.mkdir(parents=True, exist_ok=True)
        aside = f"{here}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            yield aside
            if self.is_local:
                with open(aside, "r+b") as file:
                    os.fsync(file.fileno())
                os.replace(aside, target)
            else:
                pafs.copy_files(aside, target, destination_filesystem=self._fs)
        finally:
            Path(aside).unlink(missing_ok=True)


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


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file and this host into an error of the disk or the store (`named`)."""
    try:
        yield
    except OSError as error:
        raise named(error, path) from error


def named(error: OSError, path: str) -> OSError:
    """The same error with the file and this host in it, also in another process; those of a store have no number."""
    reason = error.strerror or str(error) or type(error).__name__
    host = f" (on {platform.node()})"
    return OSError(error.errno or errno.EIO, reason if host in reason else reason + host, error.filename or path)


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


# --- Footers of Parquet files -------------------------------------------------------------------------------------

EXTENSION_REFUSAL = "it carries extension types, which are not read because they could run code"
_EXTENSION_WORDS = tuple(base64.b64encode(bytes(n) + b"ARROW:extension:name")[(0, 2, 3)[n] : -4] for n in range(3))
"""What marks one in base64 after 0, 1 or 2 other bytes, without the letters that it shares with its neighbours."""


def has_extension_types(file: IO[bytes] | pa.NativeFile) -> bool:
    """Whether a Parquet file carries Arrow extension types; no for files that are not Parquet.

    Arrow builds registered extension types as soon as it reads a footer, and some of them (Ray's tensors of old, for
    one) unpickle what the file says of them. So files with extension types are refused by their bytes.

    A file ends in its footer, the footer's length in four bytes, and `PAR1`. The footer holds the Arrow schema in
    base64, in which a word is written in one of three ways, by where it starts.

    Args:
        file: open for reading, anywhere; it is left elsewhere.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if not tail.endswith(b"PAR1") or length > size:
        return False
    file.seek(max(0, size - 8 - length))
    footer = file.read(length)
    return any(word in footer for word in _EXTENSION_WORDS)
