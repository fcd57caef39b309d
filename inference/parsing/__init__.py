"""Structured findings from radiology reports as they were written (PIRTA section 2.3.2 and table 1)."""
