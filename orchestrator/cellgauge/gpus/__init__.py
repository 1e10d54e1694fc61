"""Finds GPUs, and leases them to jobs: across threads, processes and users of a machine."""

from cellgauge.gpus.device import Device, Inventory, Listed, choose
from cellgauge.gpus.lease import Lease, Lessor, Stopped
from cellgauge.gpus.lock import default_folder
from cellgauge.gpus.nvml import Nvml

__all__ = ["Device", "Inventory", "Lease", "Lessor", "Listed", "Nvml", "Stopped", "choose", "default_folder"]
