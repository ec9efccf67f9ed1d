"""``python -m papers.lgo.experiments NAME``."""

from common.experiments import experiment_command

NAMES = [
    "local_search",
    "local_search_general",
    "local_search_ablation",
    "escaping",
    "escaping_settings",
    "benchmarks",
    "networks",
]

if __name__ == "__main__":
    experiment_command("lgo", NAMES)
