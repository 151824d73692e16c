"""What others have measured, for orientation."""

PAPER = "Kruse et al. 2021, Tables 1 and 2, https://arxiv.org/abs/2101.10763"
CAVEAT = (
    "The paper states neither its kernel nor its ABC tolerance, and clamps outliers on ballistics. "
    "Its tables are quoted from memory, but for the MDN, the autoencoder's Err_post and the best "
    "Err_resim of each problem; sources differ on the autoencoder's Err_resim of kinematics (0.016 "
    "or 0.012)."
)

# By problem, then by method: Err_post and Err_resim.
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "kinematics": {
        "INN": (0.025, 0.015),
        "INN (L2 + MMD)": (0.017, 0.086),
        "cINN": (0.015, 0.008),
        "IAF + decoder": (0.419, 0.222),
        "MAF + decoder": (0.074, 0.034),
        "i-ResNet": (0.713, 0.311),
        "InvAuto": (0.062, 0.022),
        "autoencoder": (0.037, 0.016),
        "cVAE": (0.042, 0.019),
        "MDN": (0.007, 0.012),
    },
    "ballistics": {
        "INN": (0.047, 0.019),
        "INN (L2 + MMD)": (0.060, 3.67),
        "cINN": (0.047, 0.437),
        "IAF + decoder": (0.323, 3.457),
        "MAF + decoder": (0.213, 1.010),
        "i-ResNet": (0.084, 0.091),
        "InvAuto": (0.156, 0.315),
        "autoencoder": (0.049, 0.052),
        "cVAE": (4.36, 0.812),
        "MDN": (0.048, 0.184),
    },
}
