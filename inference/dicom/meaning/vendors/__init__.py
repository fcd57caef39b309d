"""What the vendors' private attributes say about diffusion, one file a vendor."""
