"""The codes of the narrative and of the measurements; those of territories are in `territory_codes`.

Sources: PS3.16 CID 7000 (document titles), CID 7001 (headings), CID 7002 (elements), CID 7005 (contributing
equipment), TID 2000, TID 1500 and the templates they include; LOINC for the NIH Stroke Scale. No standard heading says
"reference cases", and "Previous Findings" would say they are this patient's, so those two codes are the project's own.
Of the measurements, what no standard code says is the project's own too; each meaning is told beside its code.
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

# --- measurements: TID 1500 ---------------------------------------------------------------------------------------
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021
COMMENT = Code("121106", "DCM", "Comment")
BRAIN = Code("12738006", "SCT", "Brain")  # CID 4
LEFT = Code("7771000", "SCT", "Left")  # CID 244
RIGHT = Code("24028007", "SCT", "Right")  # CID 244
BILATERAL = Code("51440002", "SCT", "Bilateral")  # CID 244

IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")  # TID 1600
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")  # TID 1602
MAGNETIC_RESONANCE = Code("MR", "DCM", "Magnetic Resonance")  # CID 29
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
DIFFUSION_WEIGHTED = Code("113043", "DCM", "Diffusion weighted")  # CID 218
ADC = Code("113041", "DCM", "Apparent Diffusion Coefficient")  # CID 218, 7263 and 7469
# What the images of a library group were used as: diffusion-weighted images or ADC maps.
IMAGE_ROLE = Code("IMAGE_ROLE", PRIVATE_SCHEME, "Used as")

ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")  # CID 7150
RESTRICTED_DIFFUSION = Code("RID43349", "RADLEX", "Restricted diffusion")  # CID 6335
PRESENT = Code("52101004", "SCT", "Present")  # CID 240
ABSENT = Code("272519000", "SCT", "Absent")  # CID 240
UNDETERMINED = Code("121059", "DCM", "Presence Undetermined")
# A finding is called acute on this ground and no other: an ADC that was measured as reduced on this patient's images.
ACUITY_BASIS = Code("ACUITY_BASIS", PRIVATE_SCHEME, "Basis of acuity, measured")
ADC_HYPOINTENSE = Code("130596", "DCM", "ADC Hypointense")  # CID 6335
# Measured numbers stand in this group, and the report draws no conclusion from them: an abstention.
CONCLUSION = Code("CONCLUSION", PRIVATE_SCHEME, "Conclusion from the measurements")
NOT_CONCLUDED = Code("NOT_CONCLUDED", PRIVATE_SCHEME, "Measured, and nothing concluded")

VOLUME = Code("118565006", "SCT", "Volume")  # CID 7469
MEAN = Code("373098007", "SCT", "Mean")  # CID 7464
NUMBER_OF_LESIONS = Code("246206008", "SCT", "Number of lesions")
# Mean ADC of the tissue that mirrors the lesion on the other side, without lesion and fluid.
OPPOSITE_ADC = Code("ADC_OPPOSITE", PRIVATE_SCHEME, "Mean ADC of the mirrored tissue")
# Mean ADC of the lesion divided by that of the tissue that mirrors it.
ADC_RATIO = Code("ADC_RATIO", PRIVATE_SCHEME, "Ratio of mean ADC, lesion to mirrored tissue")
# Part of the measured lesion that lies in the group's territory and side, of what could be assigned to any.
SHARE_OF_LESION = Code("SHARE", PRIVATE_SCHEME, "Share of the measured lesion")
# Separate parts that are bright on DWI and whose ADC is not reduced; in no other measure.
FOCI_WITHOUT_REDUCED_ADC = Code("FOCI_NO_ADC", PRIVATE_SCHEME, "Bright DWI foci without reduced ADC")
MILLILITRE = Code("ml", "UCUM", "ml")
SQUARE_MM_PER_S = Code("mm2/s", "UCUM", "mm2/s")  # CID 7277
RATIO = Code("{ratio}", "UCUM", "ratio")  # CID 7181
PERCENT = Code("%", "UCUM", "Percent")  # CID 7181
COUNT = Code("1", "UCUM", "no units")  # CID 7181
