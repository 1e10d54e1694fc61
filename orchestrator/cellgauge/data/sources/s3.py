"""Objects in S3 and in stores that speak as it does: asked without a name first, then with the user's credentials."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from cellgauge.data.sources import Changed, Fault, Head

SCHEMES = ("s3",)
CONNECT, STALL = 15.0, 60.0
PIECE = 1 << 16
DENIED = (400, 401, 403, 404)
"""What stores answer to somebody without a name who may not know what there is."""
BUSY = ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalError")
CREDENTIALS = "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def source(scheme: str, cellxgene: str) -> "S3":
    """Make the source."""
    return S3()


class S3:
    """s3://BUCKET/KEY. Another store than Amazon's is named in AWS_ENDPOINT_URL, which boto3 reads.

    Parameters
    ----------
    connect, stall
        Seconds until a server has to be there, and that it may be silent.
    """

    def __init__(self, connect: float = CONNECT, stall: float = STALL) -> None:
        self._timeouts = {"connect_timeout": connect, "read_timeout": stall}
        self._clients: dict[bool, Any] = {}
        self._signed: set[str] = set()
        """Buckets that want to know who asks."""
        self._lock = threading.Lock()

    def head(self, address: str) -> Head:
        bucket, key = _parts(address)
        answer = self._ask(bucket, lambda client: client.head_object(Bucket=bucket, Key=key))
        version = answer.get("VersionId", "")
        return Head(answer["ContentLength"], answer.get("ETag", ""), True, version="" if version == "null" else version)

    def read(self, address: str, head: Head, start: int, stop: int | None) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError

        bucket, key = _parts(address)
        wanted = {"Range": f"bytes={start}-{stop - 1}"} if stop is not None else {}
        wanted |= {"IfMatch": head.etag} if head.etag else {}
        answer = self._ask(bucket, lambda client: client.get_object(Bucket=bucket, Key=key, **wanted))
        if answer.get("ETag", "") != head.etag:  # some stores take no notice of IfMatch
            raise Changed
        try:
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(PIECE)
        except (BotoCoreError, OSError) as problem:
            raise Fault(f"the connection failed: {problem}", passing=True) from problem

    def _ask(self, bucket: str, ask: Callable[[Any], Any]) -> Any:
        if bucket in self._signed:
            return _translated(self._client(signed=True), ask)
        try:
            return _translated(self._client(signed=False), ask)
        except _Denied as denied:
            fault = denied.fault
        client = self._client(signed=True)
        if client is None:
            if fault.message.startswith("the store answers: 403"):
                hint = f"It is not public, or not there. If you have access, name your credentials: {CREDENTIALS}."
                raise Fault(f"{fault.message}, and there are no AWS credentials", hint)
            raise fault
        try:
            answer = _translated(client, ask)
        except _Denied as denied:
            raise denied.fault from None
        self._signed.add(bucket)
        return answer

    def _client(self, *, signed: bool) -> Any:
        """Make a client once; None if it should be signed and nobody has said by whom."""
        with self._lock:
            if signed not in self._clients:
                self._clients[signed] = self._made(signed)
            return self._clients[signed]

    def _made(self, signed: bool) -> Any:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(retries={"total_max_attempts": 1}, **self._timeouts)
        try:
            session = boto3.Session()
            if not signed:
                config = config.merge(Config(signature_version=UNSIGNED))
            elif session.get_credentials() is None:
                return None
            client = session.client("s3", config=config)
            if ".amazonaws.com" not in client.meta.endpoint_url:  # few others know buckets by their host name
                client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
            return client
        except (BotoCoreError, ValueError) as problem:
            raise Fault(
                f"boto3 cannot be set up: {problem}", "Check AWS_PROFILE, AWS_ENDPOINT_URL and the like."
            ) from problem


class _Denied(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _parts(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")  # not urlsplit: a key may hold ? and #
    if not bucket or not key:
        raise Fault(f"{address} names no object", "It has the form s3://BUCKET/KEY.")
    return bucket, key


def _translated(client: Any, ask: Callable[[Any], Any]) -> Any:
    """Ask, and say in our words what went wrong."""
    from botocore import exceptions

    try:
        return ask(client)
    except exceptions.ClientError as problem:
        raise _fault(problem) from problem
    except exceptions.SSLError as problem:
        hint = "Is there a proxy that looks into everything? Name its certificates in AWS_CA_BUNDLE."
        raise Fault(f"the connection is not safe: {problem}", hint) from problem
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as problem:
        raise Fault(f"the store cannot be reached: {problem}", "Is AWS_ENDPOINT_URL right?", passing=True) from problem
    except exceptions.NoCredentialsError as problem:
        raise Fault(f"there are no AWS credentials: {problem}", f"Name them: {CREDENTIALS}.") from problem
    except exceptions.BotoCoreError as problem:
        raise Fault(f"boto3 says: {problem}", f"Check {CREDENTIALS}, and AWS_ENDPOINT_URL.") from problem


def _fault(problem: Any) -> Exception:
    told = problem.response.get("Error", {})
    status = int(problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(told.get("Code", ""))
    if status in (412, 416):
        return Changed()
    words = " ".join(dict.fromkeys(word for word in (str(status), code, str(told.get("Message", ""))) if word))
    if status == 429 or status >= 500 or code in BUSY:
        return Fault(f"the store answers: {words}", "Try again later.", passing=True)
    hints = {
        404: "Check bucket and key: it may have moved.",
        403: f"The credentials that were found may not read it ({CREDENTIALS}).",
    }
    fault = Fault(f"the store answers: {words}", hints.get(status, f"Check the address, and {CREDENTIALS}."))
    return _Denied(fault) if status in DENIED else fault
