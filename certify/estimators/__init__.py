"""One file per estimator; each defines ``ESTIMATOR`` (one or a tuple)."""
