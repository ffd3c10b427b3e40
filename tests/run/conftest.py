"""The counting model, importable; and a store that speaks as S3 does."""

import os
import sys

import pytest

from run.runs import COUNTED


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The counting model; its log."""
    (tmp_path / "unmask_test_counted.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("UNMASK_TEST_LOG", str(tmp_path / "log"))
    monkeypatch.delitem(sys.modules, "unmask_test_counted", raising=False)
    return tmp_path / "log"


@pytest.fixture
def s3(monkeypatch):
    """A client of a server on this machine, without a bucket; of earlier ones nothing is left."""
    boto3 = pytest.importorskip("boto3")
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    yield client
    # All servers of a process share what they hold.
    for bucket in client.list_buckets()["Buckets"]:
        name = bucket["Name"]
        for one in client.list_objects_v2(Bucket=name).get("Contents", []):
            client.delete_object(Bucket=name, Key=one["Key"])
        client.delete_bucket(Bucket=name)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
