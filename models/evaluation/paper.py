"""The numbers of the CADE paper (Shi et al., 2023) that this project has at hand."""

from __future__ import annotations

EPE_PX = 0.113
"""Mean over its random-deformation test set: new deformations of patterns it had trained on."""
STAR_PX = {"cade": 56.0, "zncc": 68.0, "umpa": 126.0}
"""Period of the star map at 10 % bias."""
SINE_PX = {"cade": 0.041, "zncc": 0.044, "umpa": 0.043}
"""Displacement RMSE of the sine phantom."""
