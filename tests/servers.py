"""Real servers that tests speak to: one over HTTP that misbehaves as it is told, and an S3 store that knows users."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 16 << 10


class Web:
    """Serves files out of memory.

    Attributes
    ----------
    files
        Path → content.
    ranges, etags, lengths, packed
        Whether parts may be asked for, ETags are given (or `weak` ones), sizes are told, all is compressed.
    faults
        What happens to the next requests, one each: a status, `circle`, `changed`, `cut`, `sip`, `silent` or `too
        long`; None answers well. The question for the head is a request too.
    always
        What happens to all others.
    asked
        Path and range of each request.
    sent
        Bytes of bodies that went out.
    """

    def __init__(self):
        self.files, self.faults, self.always = {}, deque(), None
        self.ranges, self.etags, self.lengths, self.packed = True, True, True, False
        self.asked, self.sent, self.pause = [], 0, 0.0
        self.lock = threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                web.answer(self)

            def log_message(self, *words):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request, address):
                """A client that goes away is what these tests are about."""

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def put(self, path, content):
        self.files[path] = content
        return f"{self.root}/{path}"

    def ranged(self):
        """The parts that were asked for, without the questions for the head."""
        return [one for _, one in self.asked if one and one != "bytes=0-0"]

    def answer(self, request):
        path, wanted = request.path.lstrip("/"), request.headers.get("Range")
        with self.lock:
            self.asked.append((path, wanted))
            fault = self.faults.popleft() if self.faults else self.always
        if isinstance(fault, int):
            self.refuse(request, fault)
        elif fault == "circle":
            self.refuse(request, 302, Location=f"{self.root}/{path}")
        elif path not in self.files:
            self.refuse(request, 404)
        else:
            if fault == "changed":
                self.files[path] = bytes(reversed(self.files[path]))
            self.give(request, self.files[path], wanted if self.ranges else None, fault)

    def refuse(self, request, status, **headers):
        request.send_response(status)
        for name, value in {"Content-Length": "0", "Retry-After": "0", **headers}.items():
            request.send_header(name, value)
        request.end_headers()

    def give(self, request, content, wanted, fault):
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        match, weak = request.headers.get("If-Match"), self.etags == "weak"
        # A weak one never matches: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
        if self.etags and match and (weak or match != etag):
            self.refuse(request, 412)
            return
        content = gzip.compress(content, 1) if self.packed else content
        start, stop = 0, len(content)
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1, len(content))
        request.send_response(206 if wanted else 200)
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        if self.etags:
            request.send_header("ETag", f"W/{etag}" if weak else etag)
        length = stop - start + (1000 if fault == "too long" else 0)
        if self.packed:
            request.send_header("Content-Encoding", "gzip")
        if self.lengths:
            request.send_header("Content-Length", str(length))
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        if fault == "cut":
            stop = (start + stop) // 2
        if fault == "sip":
            stop = min(stop, start + (80 << 10))
        for at in range(start, stop, PIECE):
            if fault == "silent":
                time.sleep(3)
            time.sleep(self.pause)
            piece = content[at : min(at + PIECE, stop)]
            request.wfile.write(piece)
            with self.lock:
                self.sent += len(piece)


@contextmanager
def store(folder):
    """An S3 store in a process of its own: its address, and a client that may do everything.

    A stranger may read there what was put with the ACL `public-read`; whoever signs may read all that no policy denies.
    """
    import boto3

    log = (folder / "moto.log").open("w")
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _until_it_answers(address)
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        yield address, boto3.client("s3", endpoint_url=address, **keys)
    finally:
        process.terminate()
        process.wait()
        log.close()


def _free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _until_it_answers(address):
    import requests

    for _ in range(200):
        try:
            requests.get(f"{address}/moto-api/", timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


def start(script, *arguments, **environment):
    """Start a Python script in a process of its own, which ends with one line of JSON."""
    words = [sys.executable, "-c", script, *map(str, arguments)]
    # A shell starts its background jobs with Ctrl-C ignored, and whatever runs the tests may be one.
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(
        words,
        preexec_fn=heard,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def said(process, lines=None):
    """What such a process said, or it and those that it forked."""
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    found = [json.loads(line) for line in out.splitlines()]
    assert len(found) == (lines or 1), errors
    return found if lines else found[0]
