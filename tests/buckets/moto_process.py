"""moto's S3 server as a program of its own: `python -m tests.buckets.moto_process`.

It prints one line of JSON (its URL, the key and secret that it knows), and ends when its standard input does: with the
process that started it. All it holds is in memory.
"""

from __future__ import annotations

import argparse
import json
import sys

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam import iam_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3 import s3_backends

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ip", default="127.0.0.1")
    parser.add_argument("--bucket", default="bucket", help="made at the start")
    parser.add_argument("--objects", type=int, default=0, help="so many one-byte objects many/000/0000000.jpg ...")
    parser.add_argument("--folder-size", type=int, default=1000, help="of these objects")
    parser.add_argument(
        "--strict", action="store_true", help="refuse other keys than the one printed, and no key at all"
    )
    options = parser.parse_args()
    iam, s3 = iam_backends[DEFAULT_ACCOUNT_ID]["aws"], s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user(region_name="us-east-1", user_name="tester", tags=[])
    key = iam.create_access_key("tester")
    iam.put_user_policy("tester", "everything", json.dumps(POLICY))
    s3.create_bucket(options.bucket, "us-east-1")
    for number in range(options.objects):
        s3.put_object(options.bucket, f"many/{number // options.folder_size:03}/{number:07}.jpg", b"x")
    if options.strict:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    server = ThreadedMotoServer(options.ip, options.port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(json.dumps({"url": f"http://{host}:{port}", "key": key.access_key_id, "secret": key.secret_access_key}))
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
