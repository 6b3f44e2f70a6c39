"""A Debian 12 machine of 2 GiB, booted here with its own systemd, that takes user data as an EC2 instance does.

Bootstrapped from Debian's packages and run by systemd-nspawn, on this machine's network. Not like EC2: the kernel is
this machine's, the memory limit is a cgroup around the whole machine and does not count what the kernel itself uses,
the units' own MemoryMax does not bite (cgroup v1 is not delegated), and of the instance metadata service there is what
the installer asks.
"""

import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from local import processes

IN_THE_IMAGE = ("systemd", "systemd-sysv", "dbus", "ca-certificates", "curl", "python3")
"""What Debian's image for EC2 has too, as far as it matters here."""

CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    / "recommendations-rehearsal"
    / "-".join(("bookworm", *IN_THE_IMAGE))
)
"""The bootstrapped system is kept between runs."""

MEMORY, DATABASE_MEMORY = 2 * 2**30, 2**30
"""Bytes: of the whole machine, a t3.small; of PostgreSQL, as much as a db.t4g.micro has in all."""

CGROUP = Path("/sys/fs/cgroup/memory")


def what_is_missing() -> str:
    """Why no machine can be booted here; empty when one can."""
    missing = [tool for tool in ("systemd-nspawn", "mmdebstrap", "nsenter", "openssl") if not shutil.which(tool)]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install systemd-container mmdebstrap)"
    if os.geteuid():
        return "only root can boot a machine"
    return "" if (CGROUP / "cgroup.procs").exists() else "no memory controller of cgroup v1"


class Machine:
    """The booted machine."""

    def __init__(self, root: Path, limit: Path, nspawn: subprocess.Popen[bytes]) -> None:
        self.root, self.limit, self.nspawn = root, limit, nspawn

    def run(self, *command: str, check: bool = True) -> str:
        """Runs the command in the machine as root; returns what it printed. Raises CalledProcessError."""
        (leader,) = psutil.Process(self.nspawn.pid).children()
        enter = ["nsenter", f"--target={leader.pid}", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd", "--"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, check=False, timeout=300)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout


def proportional_memory(limit: Path) -> dict[str, int]:
    """Bytes of proportional memory (PSS) of every systemd unit in the control group: shared pages are divided among who
    shares them."""
    of_unit: dict[str, int] = defaultdict(int)
    for pid in (limit / "cgroup.procs").read_text().split():
        with suppress(OSError):
            line = next(x for x in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if x[:4] == "Pss:")
            unit = next(x for x in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if "name=systemd" in x)
            of_unit[unit.rpartition("/")[2]] += int(line.split()[1]) * 1024
    return dict(of_unit)


class Peak(threading.Thread):
    """Watches the proportional memory of units named like `units`; `highest` is the moment when they had most of it."""

    def __init__(self, limit: Path, units: str = "") -> None:
        super().__init__(daemon=True)
        self.limit, self.units = limit, units
        self.highest: dict[str, int] = {}
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(0.5):
            now = {unit: size for unit, size in proportional_memory(self.limit).items() if self.units in unit}
            if sum(now.values()) > sum(self.highest.values()):
                self.highest = now

    def finish(self) -> str:
        """What to print."""
        self._stop_asked.set()
        self.join(60)
        units = ", ".join(f"{unit.removesuffix('.service')} {size / 2**20:.0f}" for unit, size in self.highest.items())
        return f"{sum(self.highest.values()) / 2**20:.0f} MiB ({units})"


@contextmanager
def booted(folder: Path, user_data: str, hosts: dict[str, str], environment: dict[str, str]) -> Iterator[Machine]:
    """A machine that runs the user data at its first boot, as the unit cloud-final; yields once it has succeeded.

    `environment` is given to every service: where AWS is, and its keys. `hosts` are names and addresses.
    Raises AssertionError with the end of the output when the user data fails.
    """
    root = folder / "machine"
    subprocess.run(["cp", "--archive", "--reflink=auto", _bootstrapped(), root], check=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in hosts.items()))
    script = root / "var/lib/cloud/user-data"
    script.parent.mkdir(parents=True)
    script.write_text(user_data)
    script.chmod(0o755)
    # How pip reaches its packages from here. The authorities lie where the machine's own package does not put its.
    for name in ("/etc/pip.conf", "/etc/xdg/pip/constraints.txt"):
        if Path(name).exists():
            (root / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name.lstrip("/"))
    shutil.copy(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt", root / "opt/authorities")
    pip = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    # Nobody needs these files after a power cut.
    (root / "etc/dpkg/dpkg.cfg.d/rehearsal").write_text("force-unsafe-io\n")
    environment = pip | {"PIP_CERT": "/opt/authorities"} | environment
    manager = root / "etc/systemd/system.conf.d/rehearsal.conf"
    manager.parent.mkdir(parents=True)
    manager.write_text("[Manager]\nDefaultEnvironment=" + " ".join(f'"{k}={v}"' for k, v in environment.items()) + "\n")
    unit = root / "etc/systemd/system/cloud-final.service"
    unit.write_text("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/var/lib/cloud/user-data\n")
    (root / "etc/systemd/system/multi-user.target.wants").mkdir(exist_ok=True)
    (root / "etc/systemd/system/multi-user.target.wants/cloud-final.service").symlink_to(
        "/etc/systemd/system/cloud-final.service"
    )
    limit = _limit("machine", MEMORY)
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--link-journal=no"]
    command += ["--console=read-only", "--resolv-conf=copy-host", f"--machine={limit.name}", f"--directory={root}"]
    enter = ["sh", "-c", f'echo $$ >{limit}/cgroup.procs && exec "$@"', "sh", *command]
    nspawn = processes.start(enter, folder / "console.log")
    try:
        machine = Machine(root, limit, nspawn)
        _wait_for_user_data(machine)
        yield machine
    finally:
        processes.stop(nspawn)
        # A machine that was too slow to shut down outlives systemd-nspawn.
        deadline = time.monotonic() + 20
        while (left := (limit / "cgroup.procs").read_text().split()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.1)
        with suppress(OSError):
            limit.rmdir()
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def confined(server: int) -> Iterator[Path]:
    """Confines the database server, and what it forks from now on, to DATABASE_MEMORY; yields the control group."""
    limit = _limit("database", DATABASE_MEMORY)
    for process in (psutil.Process(server), *psutil.Process(server).children()):
        with suppress(ProcessLookupError):  # one of its workers that has ended meanwhile
            (limit / "cgroup.procs").write_text(str(process.pid))
    try:
        yield limit
    finally:
        for pid in (limit / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (limit.parent / "cgroup.procs").write_text(pid)
        limit.rmdir()


@contextmanager
def metadata_service(user_data: Callable[[], str]) -> Iterator[str]:
    """What an instance finds at 169.254.169.254, as far as the installer asks: its user data, with a token."""

    class Answers(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._give("token" if self.path == "/latest/api/token" else "")

        def do_GET(self) -> None:
            has_token = self.headers["X-aws-ec2-metadata-token"] == "token"
            self._give(user_data() if has_token and self.path == "/latest/user-data" else "")

        def _give(self, body: str) -> None:
            self.send_response(200 if body else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Not to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _limit(name: str, size: int) -> Path:
    """A new control group with so many bytes of memory."""
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line)
    limit = CGROUP / own.rpartition(":")[2].lstrip("/") / f"rehearsal-{name}-{os.getpid()}"
    limit.mkdir()
    (limit / "memory.limit_in_bytes").write_text(str(size))
    return limit


def _wait_for_user_data(machine: Machine) -> None:
    deadline = time.monotonic() + 900
    state = ""
    while state not in ("active", "failed"):
        assert time.monotonic() < deadline, machine.run("journalctl", "--unit=cloud-final", "--no-pager", check=False)
        assert machine.nspawn.poll() is None, (machine.root.parent / "console.log").read_text()[-3000:]
        time.sleep(0.5)
        with suppress(ValueError):
            state = machine.run("systemctl", "is-active", "cloud-final", check=False).strip()
    assert state == "active", machine.run("journalctl", "--unit=cloud-final", "--no-pager")[-5000:]


def _bootstrapped() -> Path:
    if not CACHE.is_dir():
        part = CACHE.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                "--dpkgopt=force-unsafe-io",
                f"--include={','.join(IN_THE_IMAGE)}",
                "bookworm",
                part,
            ],
            check=True,
        )
        part.rename(CACHE)
    return CACHE
