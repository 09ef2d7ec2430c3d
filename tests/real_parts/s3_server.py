"""MinIO: a bucket, keys from its own STS, their revocation, and its audit log of every request it answered."""

import hashlib
import http.server
import json
import re
import secrets
import threading
import urllib.request
from datetime import datetime

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from processes import start_on_free_port

BUCKET = "metrics"
PREFIX = "org-suite/v2/agent/data"
REGION = "us-east-1"


def policy(prefix):
    """The least that the agent needs (PUT), and what spares it a wait at its first start (listing its prefix)."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/{prefix}/*"]},
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{BUCKET}"],
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*"]}},
            },
        ],
    }


class Put:
    """One PutObject that MinIO answered."""

    def __init__(self, entry):
        api = entry["api"]
        self.key = api.get("object", "")
        self.status = api.get("statusCode", 0)
        self.ended = seconds(entry["time"])
        self.began = self.ended - int(api.get("timeToResponseInNS", "0")) / 1e9
        self.headers = {name.lower(): value for name, value in entry.get("requestHeader", {}).items()}
        # Refused keys are missing in `accessKey`; the signature names them all the same.
        named = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        self.access_key = named.group(1) if named else ""


def seconds(text):
    """Unix seconds of an RFC 3339 time with up to nine digits."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float("0." + (fraction or "0"))


class S3Server:
    """A running MinIO."""

    def __init__(self, program, work, domain=None):
        """`domain`: buckets are also names below it, as Amazon's are."""
        self.root = ("suite-root", secrets.token_hex(16))
        self.puts = []
        self._audit = self._start_audit()
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(work),
            "MINIO_ROOT_USER": self.root[0],
            "MINIO_ROOT_PASSWORD": self.root[1],
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "MINIO_AUDIT_WEBHOOK_ENABLE_suite": "on",
            "MINIO_AUDIT_WEBHOOK_ENDPOINT_suite": f"http://127.0.0.1:{self._audit.server_port}/",
        }
        if domain:
            env["MINIO_DOMAIN"] = domain
        data = work / "minio-data"
        self.process, port = start_on_free_port(
            "minio",
            lambda port: [program, "server", "--quiet", "--address", f"127.0.0.1:{port}", data],
            "/minio/health/ready",
            work,
            env,
        )
        self.url = f"http://127.0.0.1:{port}"
        self.s3 = self.client("s3", *self.root)
        self._sts = self.client("sts", *self.root)
        self.s3.create_bucket(Bucket=BUCKET)

    def client(self, service, key, secret, token=None):
        """A client of one of MinIO's services that tries once."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
        )

    def issue(self, prefix=PREFIX):
        """Temporary keys for the agent's prefix only. MinIO's shortest life is 900 s; the Cedana API declares less."""
        answer = self._sts.assume_role(
            RoleArn="arn:aws:iam::000000000000:role/agent",
            RoleSessionName="agent",
            DurationSeconds=900,
            Policy=json.dumps(policy(prefix)),
        )
        return answer["Credentials"]

    def revoke(self):
        """Makes every temporary key issued so far invalid at once, through MinIO's own admin API."""
        request = AWSRequest(
            "POST",
            f"{self.url}/minio/admin/v3/revoke-tokens/builtin?fullRevoke=true&user={self.root[0]}",
            headers={"x-amz-content-sha256": hashlib.sha256(b"").hexdigest()},
        )
        SigV4Auth(Credentials(*self.root), "s3", REGION).add_auth(request)
        signed = urllib.request.Request(request.url, method="POST", headers=dict(request.headers))
        with urllib.request.urlopen(signed, timeout=10) as answer:
            assert answer.status == 204, answer.status

    def objects(self, prefix=""):
        """Every object of the bucket as the listing tells: key, size, time of its upload; in key order."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry for page in pages for entry in page.get("Contents", [])]

    def read(self, key):
        """The bytes of one object and its metadata."""
        answer = self.s3.get_object(Bucket=BUCKET, Key=key)
        return answer["Body"].read()

    def try_put(self, credentials, key, **conditions):
        """A PUT with the given keys: 200, or the code of the error."""
        keys = (credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
        try:
            self.client("s3", *keys).put_object(Bucket=BUCKET, Key=key, Body=b"suite", **conditions)
            return 200
        except ClientError as error:
            return error.response["Error"]["Code"]

    def stop(self):
        """Ends MinIO and the receiver of its audit log."""
        self.process.stop()
        self._audit.shutdown()
        self._audit.server_close()

    def _start_audit(self):
        puts = self.puts

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                entry = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}")
                if entry.get("api", {}).get("name") == "PutObject":
                    puts.append(Put(entry))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server
