"""``python -m papers.gennes.experiments NAME``."""

from common.experiments import experiment_command

NAMES = [
    "tuning", "table1_gennes", "table1_peers", "centre", "alpha", "eq9", "figure2", "table2", "variants",
    "beyond_peers", "beyond_ours", "beyond_curves", "beyond_library", "figure1", "bo_digits", "bo_alpine", "bo_tuning",
    "bo_snapshots",
]  # fmt: skip

if __name__ == "__main__":
    experiment_command("gennes", NAMES)
