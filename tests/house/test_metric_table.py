"""docs/metrics.md says what the table of metrics says."""

from __future__ import annotations

import build_metric_table
from nuqconv.search.metrics import METRICS


def test_the_table_is_current():
    text = build_metric_table.TARGET.read_text(encoding="utf-8")
    assert text == build_metric_table.table(), "run python tools/build_metric_table.py"


def test_every_metric_and_parameter_is_there():
    rows = build_metric_table.table().splitlines()
    for kind in METRICS:
        assert sum(row.startswith(f"| `{kind.names[0]}{'N' if kind.numbered else ''}` | ") for row in rows) >= 1
    assert "| `psnr` | `border` | 0 | Pixels at each edge that do not count. |" in rows
    assert "| `ssim` | `against` | truth | `truth` for the pictures" in "\n".join(rows).replace("``", "`")
