"""A running service carries nothing that only training, evaluation and simulation need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys, threading
from pathlib import Path
from daemon.configuration import load_settings
from daemon.service import Service

service = Service(load_settings(Path(sys.argv[1]), {}))
threading.Timer(2.0, service.request_stop).start()
assert service.run() == 0
print(json.dumps(sorted(sys.modules)))
"""


def test_service_leaves_simulator_and_trainer_alone(tmp_path: Path) -> None:
    watched = tmp_path / "frames"
    watched.mkdir()
    configuration = tmp_path / "cade.toml"
    configuration.write_text(
        f'tracker.name = "zncc"\n'
        f'output.root = "{tmp_path / "output"}"\n'
        f'references.path = "{tmp_path / "references"}"\n'
        f'[[sources]]\nkind = "folder"\npath = "{watched}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(configuration)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "daemon.service" in modules
    tops = {name.split(".")[0] for name in modules}
    assert "simulator" not in tops
    assert not {"models.training", "models.evaluation"} & set(modules)
    assert not {"matplotlib", "xraydb"} & tops
