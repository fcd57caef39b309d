"""A vision-language model that reads one axial DWI slice and writes the report directly: PIRTA's baseline (sections
2.3.3 and 3.1.2, figure 3), over any OpenAI-compatible endpoint that takes images.

The paper does not print its prompt. This one holds what it says of it: one 2D slice from the middle of the brain or
the centre of the lesion, the report to be generated directly, one example of the format, and the final sentence
"There is a diffusion restriction in the anterior/posterior/deep gray circulation territory."
"""

from __future__ import annotations

import base64
import io
import logging
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from openai import APIConnectionError, APIStatusError, DefaultHttpxClient, OpenAI
from PIL import Image

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.evaluation.reports.written import Written
from pirtad.inference.report.registry_text import registry_line
from pirtad.inference.report.report import Registry
from pirtad.inference.training.cases import SimulatedCase

_MAX_TOKENS = 400
# 2 mm voxels to 448 x 384 pixels, near what such models take in at once.
_ENLARGED = 4
_BRIGHTEST_PERCENTILE = 99.5
_PROMPT = (
    "This is one axial slice of a diffusion-weighted brain MRI (DWI, b 1000), in radiological orientation: the "
    "patient's left is on the right of the image. Generate the radiology report.\n"
    "Findings must state one of: There is a diffusion restriction in the anterior circulation territory. / There is a "
    "diffusion restriction in the posterior circulation territory. / There is a diffusion restriction in the deep gray "
    "matter territory. / No diffusion restriction detected within the coverage.\n"
    "Example of the format:\n"
    "Clinical Presentation: A 75-year-old Female patient with Altered Mentality. NIHSS: 32.0\n"
    "Past Medical History: HTN, Afib\n"
    "Findings: There is a diffusion restriction in the anterior circulation territory.\n"
    "Impression: Acute infarction\n\n"
    "### Registry: {registry}"
)


class Slice(StrEnum):
    """Which slice is shown. The lesion's is chosen by the truth, which no product has; a normal brain shows its
    middle."""

    MIDDLE = "middle"
    LESION = "lesion"


class VisionModel:
    """A chat model that takes an image. The environment's proxies are not used and redirects not followed."""

    def __init__(self, base_url: str, model: str, *, api_key: str = "", timeout_s: float = 120.0) -> None:
        """base_url: e.g. http://127.0.0.1:8000/v1. timeout_s: longest silence of the endpoint."""
        logging.getLogger("openai").setLevel(logging.INFO)  # older clients log whole requests at DEBUG
        self.name = model
        self._client = OpenAI(
            base_url=base_url,
            api_key=api_key or "none",  # without one the client looks into the environment
            max_retries=0,
            timeout=timeout_s,
            http_client=DefaultHttpxClient(trust_env=False, follow_redirects=False),
        )

    def answer(self, prompt: str, png: bytes) -> str | None:
        """The model's text, None where it gave none or was cut off. Raises LanguageModelUnavailable when the endpoint
        can not be reached or refuses."""
        url = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
        try:
            found = self._client.chat.completions.create(
                model=self.name,
                temperature=0,
                max_tokens=_MAX_TOKENS,
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": prompt},
                            {"type": "image_url", "image_url": {"url": url}},
                        ],
                    }
                ],
            )
        except APIStatusError as error:
            raise _unavailable(f"refused with HTTP status {error.status_code}") from None
        except APIConnectionError:  # a timeout is one
            raise _unavailable("can't be reached, or did not answer in time") from None
        return found.choices[0].message.content or None if found.choices else None


def direct_report(model: VisionModel, case: SimulatedCase, registry: Registry, where: Slice) -> Written | None:
    """The model's report as it is; None where it wrote nothing."""
    said = model.answer(_PROMPT.format(registry=registry_line(registry)), slice_png(case, where))
    return None if said is None else Written(said, said)


def slice_png(case: SimulatedCase, where: Slice) -> bytes:
    """The DWI slice as PNG, grey, 384 x 448 pixels: anterior up, the patient's left on the right."""
    array = case.array[0].astype(np.float32)  # i to the left, j to posterior, k to superior
    shown = case.lesion if where is Slice.LESION and case.lesion.any() else array != 0
    slices: NDArray[np.int64] = np.nonzero(shown.any(axis=(0, 1)))[0]
    middle = int(np.median(np.nonzero(shown)[2])) if where is Slice.LESION else int((slices[0] + slices[-1]) // 2)
    brightest = float(np.percentile(array[array != 0], _BRIGHTEST_PERCENTILE))
    grey = (np.clip(array[:, :, middle] / brightest, 0, 1) * 255).astype(np.uint8).T
    image = Image.fromarray(grey)
    held = io.BytesIO()
    image.resize((image.width * _ENLARGED, image.height * _ENLARGED), Image.Resampling.BICUBIC).save(held, "PNG")
    return held.getvalue()


def _unavailable(what: str) -> LanguageModelUnavailable:
    return LanguageModelUnavailable("vlm_unavailable", f"the vision-language model's endpoint {what}", "check --vlm")
