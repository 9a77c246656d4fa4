"""Words that the commands which draw from a run share."""

CHECKPOINT = (
    "last, best (by the monitored score), images seen, or auto: for a GAN the best if it was monitored, else the last."
)
