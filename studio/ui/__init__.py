"""The only room with Gradio: layout, wiring, and plain functions that are tested without a browser."""
