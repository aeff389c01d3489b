"""Guards, on which every room stands: they import none of them.

What may be said and is taken where nothing is (`defaults`, `procedures`, `records`); what may be
given (`checks` of arguments, `frames` in the place of arrays, `labels` of losses, `sizes` of
machines, `versions` of JAX); what went wrong in a run (`divergence`); how XLA is asked to compile
(`options`), and whether it computes what was traced (`verify`, by `reference`, which reads
`jaxprs`).
"""
