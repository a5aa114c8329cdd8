"""How text of unknown origin and numbers are shown to a reader."""


def visible(text: object, *, lines: bool = False) -> str:
    """Text with characters that nobody would see, or that turn or hide others, replaced by their code.

    lines: line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(char if char.isprintable() or char in kept else f"[U+{ord(char):04X}]" for char in str(text))


def count(value: int) -> str:
    """Thousands apart."""
    return f"{value:,}"


def percent(value: float) -> str:
    """A share as a percentage; what is not nothing does not look like nothing."""
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return f"{100 * value:.1f} %" if value < 0.9995 or value == 1 else "> 99.9 %"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """In the two units that matter: `41.2 s`, `12 min 05 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"
