"""The DICOM front: listener, spool, assembler, dispatcher, page and command line. Never imports torch."""
