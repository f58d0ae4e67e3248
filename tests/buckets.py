"""A bucket on this machine, by a real S3 protocol."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from workloads import object_store


@contextmanager
def served_bucket() -> Iterator[str]:
    """Address of an empty bucket; it is this process's, and its children's, by their environment."""
    import boto3  # type: ignore[import-untyped]  # it has no types
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a failed test would show every request
    with pytest.MonkeyPatch.context() as patch:
        _one_write_at_a_time(patch)
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="insects")
        yield "s3://insects"
        server.stop()
    object_store._opened.cache_clear()


def _one_write_at_a_time(patch: pytest.MonkeyPatch) -> None:
    """moto looks at the condition of a write and writes in two steps, between which its threads may change places; S3
    does both in one."""
    from moto.s3.responses import S3Response

    before, alone = S3Response.put_object, threading.Lock()

    def put_object(response: Any, *given: Any, **more: Any) -> Any:
        with alone:
            return before(response, *given, **more)

    patch.setattr(S3Response, "put_object", put_object)
