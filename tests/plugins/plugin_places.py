"""A home and a current directory with INI files in them."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from pytaskfarmer.plugins.registry import Registry

FOUR_SHAPES = """\
[mcd-runner]
Runner = taskfarmer.runners.ShifterRunner
image = docker:gitlab-registry.example.org/muon-collider/mucoll:2.9-alma9
setup = source /opt/setup_mucoll.sh
volumes = /global/cfs/cdirs/atlas/user/MuonCollider/data:/data
modules = cvmfs
tempdir = True

[wcd_runner]
Runner: taskfarmer.runners.ShifterRunner
image=docker:user/wcd:main-gaudi-alma9
setup: source /opt/spack/setup.sh

[digi]
TaskList = taskfarmer.atlas.TransformTaskList
transform = Reco_tf.py
input = HITS
output = RDO
maxEventsPerJob = 100
postInclude = default:PyJobTransforms/UseFrontier.py

[valid]
TaskList = taskfarmer.atlas.AthenaTaskList
jobOptions = InDetPhysValMonitoring/InDetPhysValMonitoring_topOptions.py
output = M_output.root
nprocs = 64
"""
"""The definitions that users of PyTaskFarmer 0.1.0 have."""


@dataclass(frozen=True)
class Places:
    """A home and a current directory below a temporary one."""

    root: Path

    @property
    def home(self) -> str:
        """The home directory."""
        return str(self.root / "home")

    @property
    def cwd(self) -> str:
        """The current directory, in which no test need be."""
        return str(self.root / "cwd")

    def ini(self, place: str, text: str | bytes) -> Path:
        """Write a file; `place` is like `cwd/a.ini` or `home/runners.d/a.ini`."""
        path = self.root / place.replace("home/", "home/.pytaskfarmer/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        path.chmod(0o644)
        return path

    def registry(self) -> Registry:
        """Return all names, read now."""
        return Registry.read(self.home, self.cwd)
