"""A lost database, made anew from the manifests. No server runs meanwhile.

    lost? → an empty one in tmp/ → library → teams and keys → blocked files → images → files of no image → in its place

Nothing is removed, and until the last step nothing is changed, so it can be interrupted and run again.
"""

from imgpro_lite.services.rebuild.rebuilding import Kind, Options, Problem, Rebuilt, rebuild

__all__ = ["Kind", "Options", "Problem", "Rebuilt", "rebuild"]
