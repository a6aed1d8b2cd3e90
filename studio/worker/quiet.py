"""Before the heavy imports: read the spec, leave out what the job does not need, silence known noise."""

import os
import sys
import warnings
from pathlib import Path

from studio import workspace as names
from studio.jobs.spec import AnySpec, read_spec


def prepare_libraries(folder: Path) -> AnySpec:
    """The folder's spec, with the libraries set up for it. Raises UserError when the spec cannot be read."""
    spec = read_spec(folder / names.SPEC)
    if getattr(spec, "quantization", "none") == "none":
        # PEFT imports bitsandbytes wherever it is installed, which costs a CPU-second at every start. None in
        # sys.modules is Python's own way to say "not here"; a job that quantizes does not get it.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl|peft")
    os.umask(0o077)
    return spec
