"""A wish becomes a folder and a process."""
