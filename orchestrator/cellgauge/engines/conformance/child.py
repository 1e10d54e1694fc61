"""Runs one launch in a process of its own, which can be killed: `python -m cellgauge.engines.conformance.child`."""

import dataclasses
import json
import signal
import sys


def main() -> None:
    """Read from stdin which engine and what launch, run it, and write down how it ended."""
    told = json.load(sys.stdin)
    sys.path[:] = told["path"]
    from cellgauge import owner
    from cellgauge.engines import Cancel, Launch
    from cellgauge.engines.conformance.bench import make

    cancel = Cancel()
    signal.signal(signal.SIGTERM, lambda *_: cancel.ask())
    pretended = dataclasses.replace(owner.me(), **told["owner"])
    owner.me = lambda: pretended
    ended = make(told["engine"]).run(Launch.model_validate(told["launch"]), cancel)
    sys.stdout.write(ended.model_dump_json())


if __name__ == "__main__":
    main()
