"""The row gate: what a training row weighs whose request the reference would refuse."""
