"""What isolates one job: a container, a process, or (in tests) a function."""

from cellgauge.engines.choose import choose, every
from cellgauge.engines.launch import Cancel, Engine, Exit, Launch

__all__ = ["Cancel", "Engine", "Exit", "Launch", "choose", "every"]
