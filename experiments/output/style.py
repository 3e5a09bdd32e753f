"""How figures look: one style, set for the figure being drawn and for nothing else."""

from __future__ import annotations

from typing import Any

STYLE: Any = {  # typed loosely: matplotlib spells out every key in its own type
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    # text as text, and no random ids: the same result gives the same file
    "svg.fonttype": "none",
    "svg.hashsalt": "nlhf",
}
