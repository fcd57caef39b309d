"""The case base: FAISS index and the table of cases."""
