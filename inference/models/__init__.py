"""The image encoder and its weights."""
