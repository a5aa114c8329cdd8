"""When a phrase that stands on many pages is called an alarm."""

from pydantic import Field, PositiveInt

from gristmill.schema import Schema


class PoisoningConfig(Schema):
    """An alarm on rare phrases that stand on many unrelated pages, as the trigger of a backdoor does.

    Some 250 documents with one trigger are enough to poison a model of any size (Souly et al. 2025, arXiv:2510.07192).
    """

    alarm: bool = True
    """Whether kept documents are searched. Alarms stand in the report and in `alarms.jsonl`; nothing is dropped."""
    min_pages: PositiveInt = 50
    """Pages that a phrase stands on at least."""
    max_page_share: float = Field(default=0.05, gt=0, le=1)
    """Share of all pages that it stands on at most: what is more common is the corpus's own language."""
    min_lift: float = Field(default=10.0, gt=1)
    """How many times more pages it stands on than its words would meet on by chance, each as frequent as it is in the
    page's language."""
    min_domain_share: float = Field(default=0.5, gt=0, le=1)
    """Different registered domains for each of its pages: one site's own phrases are no alarm."""
    max_neighbour_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of its pages where the same word stands before it, or after it, at most: a planted one stands anywhere."""
    max_likeness: float = Field(default=2.5, gt=0)
    """Likeness of its pages to each other at most, where that of any two pages in their language is 1: names and terms
    stand on pages about the same things."""
