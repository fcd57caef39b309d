"""What the encoder and its case base are worth on cases that neither has seen; imports training, never the reverse."""
