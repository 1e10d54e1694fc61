"""cellgauge compares biology's AI models: each sealed in its container, all scored by the same tested functions."""

__version__ = "0.1.0"
