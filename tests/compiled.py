"""How the tests' programs are compiled, and where they are kept from one run to the next.

Most of what a short training costs is compiling, and many tests train the same critic.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import time
import zlib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
EMITTERS = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
"""Whether XLA knows the last flag: jaxlib 0.12, which Python 3.12 and newer get, aborts at it."""
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" + (
    " --xla_cpu_use_fusion_emitters=false" if EMITTERS else ""
)
"""Of XLA's flags: the last alone takes compiling a toy training from 9.6 to some 4 CPU seconds."""
FUSED = {"xla_cpu_use_fusion_emitters": True} if EMITTERS else {}
"""XLA's own setting of how sums are fused, for the fixture ``fused_as_shipped``."""
SHIPPED = FUSED | {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}
"""XLA's own settings of all three, for the fixture ``as_shipped``."""
DAYS = 30
"""What was compiled longer ago is compiled again, so that the folder does not grow for ever."""


def environ_for(devices: int) -> dict[str, str]:
    """The environment of a process with ``devices`` forced host devices.

    XLA has a thread a device or core, and a collective holds its own until the others come. Where
    several are ready at once, all threads may wait for one that has none; NPROC gives it more.
    """
    if devices == 1:
        return {"XLA_FLAGS": QUICK}
    flags = f"{QUICK} --xla_force_host_platform_device_count={devices}"
    return {"XLA_FLAGS": flags, "NPROC": str(4 * devices)}


def folder_of_programs() -> Path:
    """The folder for programs of these versions, flags and processor, under ``.cache/``.

    JAX's own keys say all of this but the processor; the folder's name says it once more.
    """
    facts = (version("jax"), version("jaxlib"), sys.version, QUICK, _processor())
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return ROOT / ".cache" / "xla" / key


def tidy(folder: Path) -> None:
    """Delete programs that are older than ``DAYS``, and those whose writer was killed meanwhile.

    JAX writes in place and never writes over what is there.
    """
    oldest = time.time() - DAYS * 24 * 3600
    for file in folder.glob("*-cache"):
        if file.stat().st_mtime < oldest or not _whole(file.read_bytes()):
            file.unlink(missing_ok=True)


def _whole(content: bytes) -> bool:
    """False for a cut zlib stream; of what another library packed (zstd) only nothing at all."""
    if content[:1] != b"x":
        return bool(content)
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True


def _processor() -> str:
    """The machine's kind and, where the system lists them, its processor's features."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform()
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    return platform.machine() + "".join(features[:1])
