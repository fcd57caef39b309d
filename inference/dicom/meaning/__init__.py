"""What an image is to diffusion imaging, by its header."""
