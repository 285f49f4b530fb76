"""From counts to intensities: the detector as it is, dark and flat, the monitor."""
