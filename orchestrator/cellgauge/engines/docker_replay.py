"""Writes the options of a container as the `docker` command takes them, so that a person can start it again."""

from typing import Any


def flags(options: dict[str, Any]) -> list[str]:
    """Write the options of a container as `docker run` takes them."""
    mounts = [
        ",".join(
            _field(f"{key}={mount[name]}")
            for key, name in (("type", "Type"), ("source", "Source"), ("target", "Target"))
        )
        + (",readonly" if mount["ReadOnly"] else "")
        for mount in options["mounts"]
    ]
    limits = [f"{limit.name}={limit.soft}:{limit.hard}" for limit in options["ulimits"]]
    asked = options["device_requests"]
    cdi = [name for one in asked if one.driver == "cdi" for name in one.device_ids]
    own = [f'"device={",".join(one.device_ids)}"' for one in asked if one.driver != "cdi"]
    several = {
        **{"--mount": mounts, "--ulimit": limits, "--gpus": own, "--device": cdi},
        **{"--env": [f"{name}={value}" for name, value in options["environment"].items()]},
        **{"--tmpfs": [f"{path}:{how}" for path, how in options["tmpfs"].items()]},
    }
    single = {
        **{"--network": options["network_mode"], "--user": options["user"], "--workdir": options["working_dir"]},
        **{"--cap-drop": "ALL", "--security-opt": "no-new-privileges", "--ipc": options["ipc_mode"]},
        **{"--pids-limit": options["pids_limit"], "--memory": options["mem_limit"]},
        **{"--memory-swap": options["memswap_limit"], "--shm-size": options["shm_size"]},
        **{"--cpus": options["nano_cpus"] / 1e9},
    }
    flags = ["--init", *(["--read-only"] if options["read_only"] else [])]
    flags += [word for name, value in single.items() for word in (name, str(value))]
    return flags + [word for name, values in several.items() for value in values for word in (name, value)]


def _field(text: str) -> str:
    """Quote a field of `--mount`, which is read as a line of CSV: a folder's name may hold a comma."""
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if set(text) & {",", '"'} else text
