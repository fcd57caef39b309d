"""Tuning the language model by low-rank adaptation (PIRTA section 2.3.2; Hu et al., arXiv 2106.09685)."""
