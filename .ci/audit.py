"""Audit the pinned dependencies (constraints.txt) with pip-audit; say so where no advisory service can be reached.

Exit status: 0 no known vulnerability, or skipped with the reason; 1 a vulnerability, or a dependency that was not
looked up. pip-audit itself calls a run in which the service knew no dependency a success.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
COMMAND = ("--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--vulnerability-service", "osv")
OPTIONS = ("--format", "json", "--progress-spinner", "off", "--timeout", "10")
UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|HTTPError|ServiceError")


def main() -> int:
    """Run the audit and print its outcome."""
    tool = shutil.which("pip-audit")
    if tool is None:
        print("audit of the dependencies SKIPPED: pip-audit is not installed")
        return 0
    done = subprocess.run([tool, *COMMAND, *OPTIONS], capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        if UNREACHABLE.search(reason):
            print(f"audit of the dependencies SKIPPED: no advisory service can be reached: {reason}")
            return 0
        print(f"pip-audit gave no result: {reason}")
        return 1
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for one in dependencies
        for flaw in one.get("vulns", [])
    ]
    found += [f"{one['name']}: not audited: {one['skip_reason']}" for one in dependencies if "skip_reason" in one]
    print("\n".join(found) if found else f"no known vulnerability in {len(dependencies)} pinned dependencies")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
