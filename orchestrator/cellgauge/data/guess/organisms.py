"""Tells which organism genes belong to."""

import re
from collections import Counter
from collections.abc import Sequence

from cellgauge.data import genes
from cellgauge.data.check.geneids import OF, PREFIX, kind_of
from cellgauge.specs.base import LATIN

TAXA = {
    "9606": "Homo sapiens",
    "10090": "Mus musculus",
    "10116": "Rattus norvegicus",
    "9544": "Macaca mulatta",
    "9541": "Macaca fascicularis",
    "9593": "Gorilla gorilla",
    "9598": "Pan troglodytes",
    "9483": "Callithrix jacchus",
    "30608": "Microcebus murinus",
    "9823": "Sus scrofa",
    "9986": "Oryctolagus cuniculus",
    "10181": "Heterocephalus glaber",
    "13616": "Monodelphis domestica",
    "9258": "Ornithorhynchus anatinus",
    "9031": "Gallus gallus",
    "8364": "Xenopus tropicalis",
    "8355": "Xenopus laevis",
    "7955": "Danio rerio",
    "7757": "Petromyzon marinus",
    "7227": "Drosophila melanogaster",
    "6239": "Caenorhabditis elegans",
}
"""NCBI's numbers."""
COMMON = {
    "human": "Homo sapiens",
    "mouse": "Mus musculus",
    "rat": "Rattus norvegicus",
    "rhesus macaque": "Macaca mulatta",
    "crab-eating macaque": "Macaca fascicularis",
    "gorilla": "Gorilla gorilla",
    "chimpanzee": "Pan troglodytes",
    "marmoset": "Callithrix jacchus",
    "mouse lemur": "Microcebus murinus",
    "pig": "Sus scrofa",
    "rabbit": "Oryctolagus cuniculus",
    "opossum": "Monodelphis domestica",
    "platypus": "Ornithorhynchus anatinus",
    "chicken": "Gallus gallus",
    "zebrafish": "Danio rerio",
    "fruit fly": "Drosophila melanogaster",
}
FAMILIAR = 0.4
"""Share of the symbols that must be in an organism's table before the genes are taken for its own."""


def named(text: str) -> str | None:
    """Turn what people call an organism into its Latin name: `human`, `homo_sapiens`, `NCBITaxon:9606`; else None."""
    plain = text.strip().removeprefix("NCBITaxon:")
    if plain in TAXA:
        return TAXA[plain]
    plain = plain.replace("_", " ")
    latin = plain[:1].upper() + plain[1:].lower()
    return COMMON.get(plain.lower()) or (latin if latin in genes.PREFIXES or re.match(LATIN, plain) else None)


def of_ids(ids: Sequence[str]) -> tuple[str | None, str]:
    """Tell the organism from Ensembl ids or, human and mouse alone, from symbols.

    Returns
    -------
    The Latin name or None, and why.
    """
    if kind_of(ids) == "ensembl":
        starts = Counter(found[found.lastindex or 0] for one in ids if (found := PREFIX.match(one)))
        if not starts:
            return "Saccharomyces cerevisiae", "the gene ids look like yeast's"
        most = starts.most_common(1)[0][0]
        return OF.get(most), f"Ensembl ids begin with {most}{'' if most in OF else ', of an organism not known here'}"
    shares = {one: genes.coverage(genes.convert(ids, one, "ensembl")) for one in genes.TABLES} if len(ids) else {}
    best = max(shares, key=lambda one: shares[one], default=None)
    if best is None or shares[best] < FAMILIAR:
        return None, "the gene names are neither Ensembl ids nor human or mouse symbols"
    alike = "macaque and chimpanzee" if best == "Homo sapiens" else "rat"
    return best, f"{shares[best]:.0%} of the symbols are known in it; those of {alike} look the same"
