"""What is taken where nothing is said, by the library and its commands alike; imports nothing."""

BASELINE = "sgd"
LEVEL = 0.05
MARGIN = 0.05
REPLICATES = 20
TUNING_SEEDS = 3
