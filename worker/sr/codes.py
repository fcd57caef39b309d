"""The codes of the narrative report.

Sources: PS3.16 CID 7000 (document titles), CID 7001 (headings), CID 7002 (elements), CID 7005 (contributing
equipment), TID 2000 and the templates it includes; LOINC for the NIH Stroke Scale. No standard heading says "reference
cases", and "Previous Findings" would say they are this patient's, so those two codes are the project's own.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99PIRTAD"

TITLE = Code("24590-2", "LN", "MRI Head Report")  # CID 7000
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
MR_BRAIN = Code("24590-2", "LN", "Brain MRI")  # CID 646
ENGLISH = Code("en", "RFC5646", "English")

SUMMARY = Code("55112-7", "LN", "Summary")  # CID 7001 and 7002
CLINICAL_INFORMATION = Code("55752-0", "LN", "Clinical Information")  # CID 7001
PATIENT_PRESENTATION = Code("55108-5", "LN", "Patient Presentation")  # CID 7001 and 7002
NIHSS = Code("72089-6", "LN", "Total score [NIH Stroke Scale]")
HISTORY = Code("11329-0", "LN", "History")  # CID 7001 and 7002
FINDINGS = Code("59776-5", "LN", "Findings")  # CID 7001
FINDING = Code("121071", "DCM", "Finding")  # CID 7002
IMPRESSIONS = Code("19005-8", "LN", "Impressions")  # CID 7001
IMPRESSION = Code("121073", "DCM", "Impression")  # CID 7002
SIMILAR_CASES = Code("SIMILAR_CASES", PRIVATE_SCHEME, "Similar Reference Cases")
SIMILAR_CASE = Code("SIMILAR_CASE", PRIVATE_SCHEME, "Similar Reference Case")
CURRENT_PROCEDURE = Code("55111-9", "LN", "Current Procedure Descriptions")  # CID 7001
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")  # CID 7002

PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005
