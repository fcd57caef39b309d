"""The command line: composition root, imports a command's parts only when it runs."""
