"""The rules that every engine keeps, as tests: whoever writes another engine subclasses `Suite` in a file of tests.

It needs pytest, which gives its tests their `engine` and `tmp_path`, and imports neither it nor any engine.
"""

from cellgauge.engines.conformance.bench import PROBE
from cellgauge.engines.conformance.endings import Endings
from cellgauge.engines.conformance.inside import Inside
from cellgauge.engines.conformance.remains import Remains
from cellgauge.engines.conformance.stops import Stops

__all__ = ["PROBE", "Suite"]


class Suite(Inside, Endings, Stops, Remains):
    """Every rule of an engine. A subclass has a fixture `engine`, and says what its engine cannot do.

    The probe program lies in `PROBE`, with a Dockerfile. An engine that runs images overrides `image`.
    """
