"""How much memory it takes."""
