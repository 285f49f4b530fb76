"""The daemon's own process variables, served by an IOC in a process of its own."""
