"""What has to be refused at once: each function tries one thing, and answers with what it got if it got anything."""

# ruff: noqa: PTH101, PTH105, PTH108, PTH208
import ctypes
import os
import platform
import resource
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import h5py

libc = ctypes.CDLL(None, use_errno=True)
INPUT = Path(os.environ["CELLGAUGE_INPUT"])
OUTPUT = Path(os.environ["CELLGAUGE_OUTPUT"])
NUMBERS = {
    "x86_64": {"add_key": 248, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246,
               "init_module": 175, "open_by_handle_at": 304, "pivot_root": 155, "syslog": 103},
    "aarch64": {"add_key": 217, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
                "kexec_load": 104, "init_module": 105, "open_by_handle_at": 265, "pivot_root": 41, "syslog": 116},
}  # fmt: skip


def called(answer):
    """Raise what libc says went wrong."""
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return "done"


# --- the network ----------------------------------------------------------------------------------------------------


def tcp(place):
    host, _, port = place.rpartition(":")
    socket.create_connection((host, int(port)), timeout=2).close()
    return "done"


def dns(name):
    return socket.getaddrinfo(name, 80)[0][4][0]


def udp(place):
    host, _, port = place.rpartition(":")
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (host, int(port)))
    return "done"


def raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return "done"


def packet():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    return "done"


def vsock():
    other = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    other.settimeout(2)
    other.connect((socket.VMADDR_CID_HOST, 22))
    return "done"


def abstract(name):
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(f"\0{name}")
    return "done"


def unix(path):
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
    return "done"


def interfaces():
    return sorted(name for _, name in socket.if_nameindex())


# --- writing --------------------------------------------------------------------------------------------------------


def write(path):
    with open(path, "a") as file:
        file.write("x")
    return "done"


def put(what):
    """Write a value into a file of the kernel's: PATH:VALUE."""
    path, _, value = what.partition(":")
    with open(path, "w") as file:
        file.write(value)
    return "done"


def chmod(path):
    os.chmod(path, 0o777)
    return "done"


def chown(path):
    os.chown(path, 12345, 12345)
    return "done"


def touch(path):
    os.utime(path, (0, 0))
    return "done"


def unlink(path):
    os.unlink(path)
    return "done"


def replace(path):
    os.replace(path, f"{path}.old")
    return "done"


def truncate(path):
    os.truncate(path, 0)
    return "done"


def link(path):
    """Have a second name for a file of the input where one may write."""
    os.link(path, OUTPUT / "second")
    return "done"


def remount(path):
    flags = 0x20 | 0x1000  # MS_REMOUNT, MS_BIND; and no longer MS_RDONLY
    return called(libc.mount(b"none", path.encode(), None, ctypes.c_ulong(flags), None))


def mount():
    return called(libc.mount(b"none", b"/scratch", b"tmpfs", ctypes.c_ulong(0), None))


def umount(path):
    return called(libc.umount2(path.encode(), 0))


def mknod(kind):
    os.mknod(OUTPUT / f"device-{kind}", getattr(stat, f"S_IF{kind.upper()}") | 0o666, os.makedev(1, 5))
    return "done"


# --- reading --------------------------------------------------------------------------------------------------------


def listing(path):
    return sorted(os.listdir(path))


def read(path):
    with open(path, "rb") as file:
        return file.read(65536).decode(errors="replace")


def environment():
    return dict(os.environ)


def found(suffix):
    """Every file of this kind that can be reached."""
    tops = ("/job", "/scratch", "/weights", "/tmp", "/home", "/root", "/mnt", "/srv", "/var", "/run", "/opt")
    return sorted(str(path) for top in tops for path in Path(top).rglob(f"*{suffix}"))


def view():
    """All that a view says beside its counts."""
    said = {}
    for path in INPUT.glob("*.h5ad"):
        with h5py.File(path) as file:
            names = [group for group in ("obs", "uns", "obsm", "layers", "raw") if group in file]
            said[path.name] = {group: sorted(file[group]) for group in names}
            said[path.name]["cells"] = [name.decode() for name in file["obs"][file["obs"].attrs["_index"]][:3]]
    return said


def devices():
    """Everything in /dev that leads to hardware, by its numbers: a disk, memory, a keyboard."""
    modes = {path: path.lstat() for path in Path("/dev").rglob("*")}
    return sorted(f"{path} {os.major(one.st_rdev)}:{os.minor(one.st_rdev)}" for path, one in modes.items()
                  if stat.S_ISBLK(one.st_mode) or stat.S_ISCHR(one.st_mode))  # fmt: skip


def processes():
    return sorted(Path(path, "comm").read_text().strip() for path in Path("/proc").glob("[0-9]*"))


# --- rights ---------------------------------------------------------------------------------------------------------


def status():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: line.split(":")[1].strip() for line in lines}


def setuid():
    return subprocess.run(
        ["/usr/local/bin/id-as-root", "-u"], check=True, capture_output=True, text=True
    ).stdout.strip()


def unshare(flag):
    return called(libc.unshare(int(flag, 16)))


def setns():
    return called(libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))


def ptrace(process):
    """Take hold of another process: PTRACE_ATTACH."""
    return called(libc.ptrace(16, int(process), None, None))


def syscall(name):
    number = NUMBERS[platform.machine()][name]
    return called(libc.syscall(number, *([ctypes.c_long(0)] * 6)))


def chroot():
    os.chroot("/scratch")
    return "done"


def hostname():
    socket.sethostname("adversary")
    return "done"


def clock():
    time.clock_settime(time.CLOCK_REALTIME, 0)
    return "done"


def nice():
    return os.nice(-5)


def unlimit(name):
    infinity = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), infinity)
    except ValueError as problem:
        return f"refused: {problem}"
    return "done"


def limits():
    return {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("CORE", "FSIZE")}


def kill(what):
    """Send a signal: PROCESS:NAME."""
    process, _, name = what.partition(":")
    os.kill(int(process), getattr(signal, name))
    time.sleep(0.2)
    return "done"


def dump():
    """Have a child dump its memory into the folder it stands in."""
    before = listing(OUTPUT)
    subprocess.run(["python", "-c", "import os; os.abort()"], cwd=OUTPUT, check=False)
    return sorted({*listing(OUTPUT)}.difference(before))


def cgroup(name):
    """Read a setting of this container's, in either version of control groups."""
    places = [*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup", name)]
    return next((path.read_text().strip() for path in places if path.exists()), None)
