from __future__ import annotations

import subprocess
import sys

import pytest

import common.functions
import common.metrics
import papers


@pytest.mark.parametrize("package", [common.functions, common.metrics, papers])
def test_all_that_a_package_hands_on_is_there(package):
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="minimise"):
        package.minimise


@pytest.mark.parametrize("names", ["common.functions import splines", "papers import find_minimum"])
def test_nobody_waits_for_what_he_does_not_use(names):
    script = f"import sys; from {names}; print({{'botorch', 'torchmetrics', 'lightning'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
