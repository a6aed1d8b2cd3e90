"""A file becomes examples: rows are read, recognised, converted, checked, and shown as the model will see them."""
