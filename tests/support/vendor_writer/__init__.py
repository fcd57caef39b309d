"""Synthetic diffusion studies in every vendor's packing, with the truth known.

Written from the DICOM standard and public knowledge of the vendors' private attributes, and from nothing of the reader:
whatever both get right, they got right independently.
"""
