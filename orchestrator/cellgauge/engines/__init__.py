"""What isolates one job: a container, a process, or (in tests) a function."""

from cellgauge.engines.choose import choose
from cellgauge.engines.launch import Engine, Exit, Launch

__all__ = ["Engine", "Exit", "Launch", "choose"]
