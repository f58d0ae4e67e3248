"""The disk or the bucket of a folder through `obstore`, which has the conditional writes that pyarrow has not.

The address and the settings are those of `workloads.storage.Folder`, so that both reach the same objects.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from workloads.errors import UsageError, first_line
from workloads.storage import Folder

_PATIENCE: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
"""What is asked of the store here is small, and is asked again soon."""


def object_store(folder: Folder) -> tuple[ObjectStore, str]:
    """The disk or the bucket that a folder lies in, and the folder's name in it.

    Raises:
        UsageError: it is of a kind that has no conditional writes.
    """
    if folder.is_local:
        return LocalStore(), os.path.realpath(folder.path).lstrip("/")
    kind, settings = folder.store_settings()
    bucket, _, prefix = folder.path.partition("/")
    if kind not in ("s3", "gcs", "abfs"):
        raise UsageError(f"{folder}: runs lie on a disk, in S3 (s3://), Google Cloud (gs://) or Azure (abfs://)")
    said = tuple(sorted((name, str(value)) for name, value in settings.items() if isinstance(value, str | bool)))
    return _opened(kind, bucket, said), prefix


@contextmanager
def store_errors(address: str) -> Iterator[None]:
    """Errors of a store as those of a disk, with the address of the object."""
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise FileNotFoundError(errno.ENOENT, first_line(error), address) from error
    except (OSError, BaseError) as error:
        raise OSError(errno.EIO, first_line(error), address) from error


@cache
def _opened(kind: str, bucket: str, said: tuple[tuple[str, str], ...]) -> ObjectStore:
    """Keys are in no address: they are the environment's, the user's files', or the machine's."""
    settings = {name: value for name, value in said if value}
    endpoint = settings.get("endpoint_override", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{settings.get('scheme', 'https')}://{endpoint}"
    if kind == "s3" and not endpoint:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    client: Any = {"timeout": timedelta(seconds=20), "allow_http": endpoint.startswith("http://")}
    how: dict[str, Any] = {"client_options": client, "retry_config": _PATIENCE, "config": {}}
    if kind == "abfs":
        how["config"] = {
            name: settings[name] for name in ("account_name", "client_id", "tenant_id") if name in settings
        }
        return AzureStore(bucket, **how)
    if settings.get("anonymous") == "True":
        how["config"]["skip_signature"] = True
    if kind == "gcs":
        how["config"] |= {"base_url": endpoint} if endpoint else {}
        return GCSStore(bucket, **how)
    how["config"] |= {"region": settings.get("region", "us-east-1")} | ({"endpoint": endpoint} if endpoint else {})
    if "skip_signature" not in how["config"]:
        from obstore.auth.boto3 import Boto3CredentialProvider

        with suppress(ValueError):  # it finds no keys, which the store will say in better words
            how["credential_provider"] = Boto3CredentialProvider()
    return S3Store(bucket, **how)
