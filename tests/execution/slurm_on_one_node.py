"""A real Slurm of one node, on the loopback and in a folder of its own.

It needs Debian's ``slurmctld``, ``slurmd``, ``slurm-client`` and ``munge``, and root, as ``slurmd`` does.
``TUMORBOARD_SLURM=1 python -m pytest tests/execution/test_slurm_for_real.py`` has tests in it, of some minutes, as
``.ci/run`` does; ``python -m tests.execution.slurm_on_one_node COMMAND`` starts it, does a command, such as ``bash``,
and ends it.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol")
ASKED_FOR = "TUMORBOARD_SLURM"
_START_SECONDS = 30.0

_CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=15
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=15
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
"""


class CanNotStart(Exception):
    """Slurm's daemons are there, and do not come up on this machine."""


def why_no_tests() -> str:
    """Return why the tests in a real Slurm are not run, empty where they are asked for and can be."""
    return why_not() if os.environ.get(ASKED_FOR, "0") != "0" else f"{ASKED_FOR}=1 asks for it"


def why_not() -> str:
    """Return why no Slurm can be started here, empty where it can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{missing[0]} is not installed (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def one_node() -> Iterator[Mapping[str, str]]:
    """Start Slurm; give the environment in which its commands find it; end it with all that it runs."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        home = Path(name)
        home.chmod(0o755)  # munge wants every user to reach its socket
        for folder in ("munge", "state", "spool"):
            (home / folder).mkdir(mode=0o755)
        (home / "munge/key").write_bytes(secrets.token_bytes(128))
        (home / "munge/key").chmod(0o400)
        host, (port, node_port) = socket.gethostname().partition(".")[0], _free_ports(2)
        configuration = home / "slurm.conf"
        configuration.write_text(_CONFIGURATION.format(home=home, host=host, port=port, node_port=node_port))
        environment = {**os.environ, "SLURM_CONF": str(configuration)}
        daemons = [
            ["munged", "--foreground", "--force", f"--key-file={home}/munge/key", f"--socket={home}/munge/socket",
             f"--pid-file={home}/munge/pid", f"--log-file={home}/munge/log", f"--seed-file={home}/munge/seed"],
            ["slurmctld", "-D", "-c", "-f", str(configuration)],
            ["slurmd", "-D", "-f", str(configuration)],
        ]  # fmt: skip
        running = []
        try:
            for daemon in daemons:
                with (home / f"{daemon[0]}.out").open("wb") as output:
                    running.append(subprocess.Popen(daemon, env=environment, stdout=output, stderr=subprocess.STDOUT))
                time.sleep(0.5)
            _wait_until_idle(environment)
            yield environment
        finally:
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(["scancel", "--full", "-u", "root"], env=environment, timeout=10, check=False)
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline and ask(environment, "squeue", "-h"):
                    time.sleep(0.5)
            for process in reversed(running):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def ask(environment: Mapping[str, str], *words: str) -> str:
    """Return what a command of Slurm's prints."""
    done = subprocess.run(words, env=dict(environment), capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


def _wait_until_idle(environment: Mapping[str, str]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if "idle" in ask(environment, "sinfo", "-h", "-o", "%t"):
            return
        time.sleep(0.3)
    home = Path(environment["SLURM_CONF"]).parent
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in home.glob("*.log"))
    raise CanNotStart(f"Slurm did not start:\n{logs}")


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback on which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    if why_not():
        sys.exit(why_not())
    with one_node() as found:
        sys.exit(subprocess.run(sys.argv[1:] or ["sinfo"], env=dict(found), check=False).returncode)
