"""A web studio for fine-tuning language models: a file becomes examples, a job, an adapter, a conversation."""

__version__ = "0.1.0"
