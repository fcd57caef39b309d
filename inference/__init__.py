"""From DICOM files to a drafted report, offline: no server, no queue, no database."""
