"""The X/Y/Z plot: a picture for each combination of the values of up to three axes, and all of them in one grid."""

from modules.scripts.xyz_plot.plot import XYZ_PLOT as XYZ_PLOT
