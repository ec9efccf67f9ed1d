"""``python -m papers.refine1d.experiments NAME``."""

from common.experiments import experiment_command

NAMES = [
    "table1", "trajectories", "escapes", "classes", "ablation", "examples",
    "posterior_ablation", "posterior_setting", "posterior_setting_peers", "posterior_range", "posterior_range_peers",
    "posterior_outside", "posterior_outside_peers", "posterior_regret", "posterior_sequential", "posterior_seeds",
]  # fmt: skip

if __name__ == "__main__":
    experiment_command("refine1d", NAMES)
