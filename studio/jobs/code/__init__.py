"""A job said again without the studio: a Python script, a preset, Axolotl's YAML, and the rows that they read."""

INSTEAD = "Take the preset (job.yaml): it brings the whole job back in the studio."  # it can say every job
