"""The only room with torch: one process works on one job folder and says what it does in events.jsonl."""
