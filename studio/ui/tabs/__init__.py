"""One file a tab: layout, wiring, plain functions."""
