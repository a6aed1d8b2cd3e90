"""Talking to what was trained: chat-completions clients, later arenas and votes."""
