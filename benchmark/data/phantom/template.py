"""The MNI152 template that nilearn ships, read without importing nilearn."""

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.errors import UserError

FILE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
ORIGIN = (-98.0, -134.0, -72.0)
SHAPE = (197, 233, 189)

CITATION = (
    "V. Fonov, A. Evans, R. McKinstry, C. Almli, D. Collins. Unbiased nonlinear average age-appropriate brain "
    "templates from birth to adulthood. NeuroImage 47 (2009) S102; V. Fonov et al. Unbiased average age-appropriate "
    "atlases for pediatric studies. NeuroImage 54 (2011) 313-327; D. Collins et al. ANIMAL+INSECT: improved cortical "
    "structure segmentation. IPMI (1999) 210-223."
)


# The notice that the template's owners ask to be kept.
LICENCE = (
    "MNI152 template: Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological "
    "Institute, McGill University. Permission to use, copy, modify, and distribute this software and its "
    "documentation for any purpose and without fee is hereby granted, provided that the above copyright notice "
    "appear in all copies. The authors and McGill University make no representations about the suitability of this "
    'software for any purpose. It is provided "as is" without express or implied warranty. The authors are not '
    "responsible for any data loss, equipment damage, property loss, or injury to subjects or patients resulting "
    "from the use or misuse of this software package. Simulation: Apache-2.0."
)


def read_t1() -> npt.NDArray[np.uint8]:
    """Return the skull-stripped T1 average of 152 heads: uint8, (197, 233, 189), 1 mm, axes right, anterior, up.

    Raises:
        UserError: nilearn is not installed, or no longer ships this file.
    """
    # nilearn itself takes seconds to import, and pulls in scikit-learn and pandas; only its file is needed.
    spec = importlib.util.find_spec("nilearn")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = Path(place) / "datasets" / "data" / FILE
        if path.is_file():
            import nibabel

            image = nibabel.load(path)
            values: npt.NDArray[np.uint8] = np.asarray(image.dataobj)
            if values.shape != SHAPE or values.dtype != np.uint8 or tuple(image.affine[:3, 3]) != ORIGIN:
                break
            return values
    raise UserError("The phantom needs the MNI152 template that nilearn 0.10 or newer ships: pip install -U nilearn")
