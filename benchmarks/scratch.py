"""A studio in a temporary folder, which borrows the starter model and leaves nothing behind."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studio.base_models import STARTER_FOLDER
from studio.jobs.studio import Studio, open_studio
from studio.settings import Settings


@contextmanager
def scratch_studio(models: Path) -> Iterator[Studio]:
    """A studio whose queue nobody keeps."""
    with tempfile.TemporaryDirectory(prefix="studio-bench-") as folder:
        studio = open_studio(Settings(workspace=Path(folder) / "workspace"))
        (studio.workspace.models / STARTER_FOLDER).symlink_to((models / STARTER_FOLDER).resolve())
        yield studio
