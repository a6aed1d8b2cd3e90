"""The same from the shell, for scripts and tests."""
