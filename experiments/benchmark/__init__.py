"""Where jaxnet stands: against loops written by hand, other libraries and the machine itself.

Every part runs in a process of its own and gives a `timing.Section`; the parts are in `__main__`.
"""
