"""A model on disk: one immutable directory for each version, verified before use.

Contents and manifest fields -> `writing` -> the directory -> `reading` -> `Bundle`. The two share `arrays`.

    <bundles>/20260131-120000-1f2e3d4c/
        manifest.json     see `models.bundle.manifest`
        manifest.sha256   of manifest.json, in the form of sha256sum
        items.npz         ids, factors, counts, last_ms
        users.npz         ids, factors, mean
        ranker.txt        LightGBM's text form       } both or neither
        ranking.npz       what its features need     }
        attributes.json   the attributes that it reads and the numbers of their values; missing where it reads none
        bias.npz          mean, items, users of `models.monitoring.bias`; missing where there were no ratings
"""
