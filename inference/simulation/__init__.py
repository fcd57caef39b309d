"""Simulated diffusion studies with known truth."""
