"""What harmonypy says. Runs in its own environment."""

import harmonypy
import numpy as np

PACKAGES = ("harmonypy", "numpy")
SPREAD = ()


def metrics(cells):
    """Functions by metric; it finds its neighbours itself."""

    def lisi(role, how):
        return lambda: how(harmonypy.compute_lisi(cells.points, cells.obs, [role])[:, 0])

    return {
        "lisi_mean batch": lisi("batch", np.mean),
        "lisi_median batch": lisi("batch", np.median),
        "lisi_mean label": lisi("cell_type", np.mean),
        "lisi_median label": lisi("cell_type", np.median),
    }
