"""Guards, on which every room stands: they import none of them.

What may be said (`defaults`, `records`) and given (`checks`, `labels`, `sizes`, `versions`), what
went wrong in a run (`divergence`), and whether XLA computes what was traced (`jaxprs`, `reference`,
`verify`).
"""
