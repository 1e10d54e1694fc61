"""Files on web servers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellgauge.data.sources import Changed, Fault, Head

if TYPE_CHECKING:
    import requests

SCHEMES = ("https", "http")
CONNECT, STALL = 15.0, 60.0
PIECE = 1 << 16
"""Bytes read at once; of a connection that is cut, what has come of the last piece is lost."""
BY_HAND = "Or download it by hand, and name the file itself as the source."
REASONS = {
    401: "Whoever publishes it wants a login.",
    403: "It needs rights that you have not, or the address has run out.",
    404: "Check the address: it may have moved.",
    410: "It was taken away. Look for another source.",
}


def source(scheme: str, cellxgene: str) -> "Https":
    """Make the source."""
    return Https()


class Https:
    """Reads over HTTP, in ranges where the server offers them.

    Parameters
    ----------
    connect, stall
        Seconds until a server has to be there, and that it may be silent.
    """

    def __init__(self, connect: float = CONNECT, stall: float = STALL) -> None:
        self._timeout = (connect, stall)

    def head(self, address: str) -> Head:
        # Not HEAD, which many refuse or answer otherwise; and this tells whether ranges are really given.
        with self._answer(address, {"Range": "bytes=0-0"}, 416) as answer:
            etag = _etag(answer)
            if answer.status_code == 206:
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                return Head(int(total) if total.isdecimal() else None, etag, ranges=total.isdecimal())
            if answer.status_code == 416:
                raise Fault("it is empty", "Look for another source.")
            length = answer.headers.get("Content-Length", "")
            packed = answer.headers.get("Content-Encoding", "identity") != "identity"  # its length is another one
            return Head(int(length) if length.isdecimal() and not packed else None, etag)

    def read(self, address: str, head: Head, start: int, stop: int | None) -> Iterator[bytes]:
        headers = {}
        if head.ranges and stop is not None:
            headers["Range"] = f"bytes={start}-{stop - 1}"
        if head.etag.startswith('"'):  # a weak one (W/"…") never matches by definition, and a date is none
            headers["If-Match"] = head.etag
        with self._answer(address, headers, 412, 416) as answer:
            if answer.status_code in (412, 416) or _etag(answer) != head.etag:
                raise Changed
            if "Range" in headers:
                given = answer.headers.get("Content-Range", "")
                if answer.status_code != 206 or not given.startswith(f"bytes {start}-"):
                    raise Fault("the server gives another part than it was asked for", BY_HAND, passing=True)
                if given.rpartition("/")[2] not in (str(head.size), "*"):
                    raise Changed
            with _explained(self._timeout[1]):
                yield from answer.iter_content(PIECE)

    def json(self, address: str) -> Any:
        """Read a JSON document."""
        with self._answer(address, {"Accept": "application/json"}) as answer, _explained(self._timeout[1]):
            try:
                return answer.json()
            except ValueError as problem:
                raise Fault(f"{address} does not answer in JSON", "Is it the right server?") from problem

    @contextmanager
    def _answer(self, address: str, headers: dict[str, str], *fine: int) -> Iterator["requests.Response"]:
        import requests

        with _explained(self._timeout[1]):
            answer = requests.get(
                address, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=self._timeout
            )
        with answer:
            status = answer.status_code
            if status not in (200, 206, *fine):
                passing = status in (408, 425, 429) or status >= 500
                wait = answer.headers.get("Retry-After", "")
                hint = "Try again later." if passing else f"{REASONS.get(status, 'Check the address.')} {BY_HAND}"
                reason = f"the server answers: {status} {answer.reason}"
                raise Fault(reason, hint, passing=passing, wait=float(wait) if wait.isdecimal() else 0.0)
            yield answer


def _etag(answer: "requests.Response") -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


@contextmanager
def _explained(stall: float) -> Iterator[None]:
    """Say what became of a connection."""
    import requests

    try:
        yield
    except requests.TooManyRedirects as problem:
        raise Fault("the server redirects in a circle", f"Check the address. {BY_HAND}") from problem
    except requests.exceptions.SSLError as problem:
        hint = "Is there a proxy that looks into everything? Name its certificates in REQUESTS_CA_BUNDLE."
        raise Fault(f"the connection is not safe: {_told(problem)}", hint) from problem
    except requests.Timeout as problem:
        raise Fault(f"the server does not answer, or has gone silent for {stall:g} s", passing=True) from problem
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as problem:
        if "timed out" in str(problem).lower():
            raise Fault(f"the server has gone silent for {stall:g} s", passing=True) from problem
        raise Fault(f"the connection failed: {_told(problem)}", passing=True) from problem
    except requests.RequestException as problem:
        raise Fault(f"it cannot be asked for: {_told(problem)}", "Check the address.") from problem
    except OSError as problem:
        raise Fault(f"the connection failed: {problem}", passing=True) from problem


def _told(problem: Exception) -> str:
    """The innermost reason of an exception that wraps others, without the names of the wrappers."""
    inner: BaseException = problem
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    reason = getattr(inner, "reason", None)
    text = str(reason if isinstance(reason, BaseException) else inner)
    return re.sub(r"^(<?[A-Za-z.]*Connection.*?\)?>?: )", "", text)
