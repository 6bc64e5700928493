r"""A small LaTeX to MathML converter for the statements of ``theory/theorems``.

It knows scripts, fractions, roots, accents, alphabets, delimiters, Greek and the usual operators, and refuses the rest:
an unknown macro raises instead of leaving a backslash in the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape


class LatexError(ValueError):
    """LaTeX outside the subset."""


def _table(names: str, signs: str) -> dict[str, str]:
    return dict(zip(names.split(), signs.split(), strict=True))


_GREEK = _table(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho varrho "
    "sigma varsigma tau upsilon phi varphi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
    "α β γ δ ϵ ε ζ η θ ϑ ι κ λ μ ν ξ π ϖ ρ ϱ σ ς τ υ ϕ φ χ ψ ω Γ Δ Θ Λ Ξ Π Σ Υ Φ Ψ Ω",
)
_LETTERS = _table(
    "ell infty partial hbar emptyset top dots ldots cdots nabla Re prime",
    "ℓ ∞ ∂ ℏ ∅ ⊤ … … ⋯ ∇ ℜ ′",
)
_OPERATORS = _table(
    "le leq ge geq ne neq ll gg approx sim simeq equiv propto in notin subset cap cup to rightarrow mapsto Rightarrow "
    "times cdot otimes oplus pm ast star circ wedge vee forall exists colon mid perp neg setminus",
    "≤ ≤ ≥ ≥ ≠ ≠ ≪ ≫ ≈ ∼ ≃ ≡ ∝ ∈ ∉ ⊂ ∩ ∪ → → ↦ ⇒ × ⋅ ⊗ ⊕ ± ∗ ⋆ ∘ ∧ ∨ ∀ ∃ : | ⊥ ¬ ∖",
)
_FENCES = _table(
    "langle rangle lVert rVert lvert rvert lceil rceil lfloor rfloor | { } Vert vert lbrace rbrace",
    "⟨ ⟩ ‖ ‖ | | ⌈ ⌉ ⌊ ⌋ ‖ { } ‖ | { }",
)
_BIG = _table("int iint oint sum prod bigcup bigcap", "∫ ∬ ∮ ∑ ∏ ⋃ ⋂")
_INTEGRALS = ("int", "iint", "oint")
_FUNCTIONS = ("exp", "log", "ln", "sin", "cos", "tan", "tanh", "det", "tr", "diag", "dim", "ker", "arg", "Pr")
_LIMITS = ("max", "min", "sup", "inf", "lim", "limsup", "liminf", "argmin", "argmax")
_ACCENTS = _table(
    "tilde widetilde hat widehat bar overline vec dot ddot check breve",
    "~ ~ ^ ^ ¯ ¯ → ˙ ¨ ˇ ˘",
)
_SPACES = {",": "0.17em", ":": "0.22em", ";": "0.28em", "!": "-0.17em", " ": "0.25em", "quad": "1em", "qquad": "2em"}
_SIZES = {"big": "1.2em", "bigl": "1.2em", "bigr": "1.2em", "Big": "1.8em", "Bigl": "1.8em", "Bigr": "1.8em"}
_SIZES |= {"bigg": "2.4em", "biggl": "2.4em", "biggr": "2.4em", "Bigg": "3em", "Biggl": "3em", "Biggr": "3em"}
_SCRIPT_EXCEPTIONS = dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True))
_DOUBLE_EXCEPTIONS = dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))
_WORDS = ("KL", "Lip", "Law", "osc", "Var", "Cov")
_TEXT = re.compile(r"\\(text|mathrm|operatorname)\{([^{}\\]*)\}")
_TOKEN = re.compile(
    r"\\(?:text|mathrm|operatorname)\{[^{}\\]*\}|\\[a-zA-Z]+|\\.|" + "|".join(_WORDS) + r"|\s+|.", re.DOTALL
)


def _alphabet(letter: str, upper: int, lower: int, exceptions: dict[str, str]) -> str:
    if letter in exceptions:
        return exceptions[letter]
    if "A" <= letter <= "Z":
        return chr(upper + ord(letter) - ord("A"))
    return chr(lower + ord(letter) - ord("a")) if "a" <= letter <= "z" else letter


def _styled(command: str, letter: str) -> str:
    """One character in an alphabet of mathematics."""
    if command in ("mathcal", "mathscr"):
        return _alphabet(letter, 0x1D49C, 0x1D4B6, _SCRIPT_EXCEPTIONS)
    if command == "mathbb":
        return _alphabet(letter, 0x1D538, 0x1D552, _DOUBLE_EXCEPTIONS)
    return _alphabet(letter, 0x1D400, 0x1D41A, {})  # mathbf


def _mo(text: str, attributes: str = ' stretchy="false"') -> str:
    return f"<mo{attributes}>{escape(text)}</mo>"


def _row(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"<mrow>{''.join(items)}</mrow>"


@dataclass
class _Parser:
    """Recursive descent over tokens; ``position`` moves forward only."""

    tokens: list[str]
    position: int = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise LatexError("the formula ends too early")
        self.position += 1
        return token

    def sequence(self, stop: str) -> list[str]:
        """Scripted atoms up to the token ``stop`` (consumed), or to the end where ``stop`` is empty."""
        items = []
        while self.peek() != stop:
            items.append(self.scripted())
        if stop:
            self.take()
        return items

    def argument(self) -> str:
        """A braced group or a single token."""
        if self.peek() == "{":
            self.take()
            return _row(self.sequence("}") or ["<mrow></mrow>"])
        token = self.take()
        return f"<mn>{token}</mn>" if token.isdigit() else self.atom(token)

    def raw(self) -> str:
        """A braced group as text."""
        if self.take() != "{":
            raise LatexError("a text macro needs braces")
        words = []
        while self.peek() != "}":
            words.append(self.take())
        self.take()
        return "".join(words)

    def scripted(self) -> str:
        """An atom with its primes, subscript and superscript."""
        token = self.take()
        base = self.atom(token)
        low, high = "", ""
        primes = 0
        while self.peek() in ("_", "^", "'"):
            mark = self.take()
            if mark == "'":
                primes += 1
            elif mark == "_" and not low:
                low = self.argument()
            elif mark == "^" and not high:
                high = self.argument()
            else:
                raise LatexError("double script")
        if primes:
            high = _row([_mo("′" * primes), *([high] if high else [])])
        return _scripts(base, low, high, limits=token.startswith("\\") and _takes_limits(token[1:]))

    def atom(self, token: str) -> str:
        """One atom without scripts."""
        text = _TEXT.fullmatch(token)
        if text is not None:
            return _text(*text.groups())
        if token.startswith("\\"):
            return self.macro(token[1:])
        if token == "{":
            return _row(self.sequence("}") or ["<mrow></mrow>"])
        if token.isdigit():
            return f"<mn>{token}{self.digits()}</mn>"
        if token.isalpha():
            return f"<mi>{escape(token)}</mi>"
        if token == "-":
            return _mo("−", "")
        if token in "()[]|/":
            return _mo(token)
        if token in "+=<>,;:!*.":
            return _mo(token, "")
        raise LatexError(f"character {token!r} is outside the subset")

    def digits(self) -> str:
        """The rest of a number."""
        text = ""
        while self.peek().isdigit() or (self.peek() == "." and self.follows_digit()):
            text += self.take()
        return text

    def follows_digit(self) -> bool:
        after = self.tokens[self.position + 1 : self.position + 2]
        return bool(after) and after[0].isdigit()

    def macro(self, name: str) -> str:
        """A macro by name, without its backslash."""
        for table, make in ((_GREEK, _greek), (_LETTERS, _letter), (_OPERATORS, _operator), (_FENCES, _mo)):
            if name in table:
                return make(table[name])
        if name in _BIG:
            return f'<mo largeop="true">{_BIG[name]}</mo>'
        if name in _FUNCTIONS or name in _LIMITS:
            return f'<mi mathvariant="normal">{name}</mi>'
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"></mspace>'
        return self.structure(name)

    def structure(self, name: str) -> str:
        """A macro with arguments."""
        if name in ("frac", "tfrac", "dfrac"):
            fraction = f"<mfrac>{self.argument()}{self.argument()}</mfrac>"
            return f'<mstyle displaystyle="false">{fraction}</mstyle>' if name == "tfrac" else fraction
        if name == "sqrt":
            return f"<msqrt>{self.argument()}</msqrt>"
        if name in _ACCENTS:
            return f'<mover accent="true">{self.argument()}{_mo(_ACCENTS[name])}</mover>'
        if name in ("mathcal", "mathscr", "mathbb", "mathbf"):
            letters = self.raw() if self.peek() == "{" else self.take()
            if not letters.isalnum():
                raise LatexError(f"the argument of {name} is not a letter")
            return _row([f"<mi>{''.join(_styled(name, letter) for letter in letters)}</mi>"])
        if name in _SIZES:
            size = _SIZES[name]
            return _mo(self.fence(), f' stretchy="true" symmetric="true" minsize="{size}" maxsize="{size}"')
        if name == "left":
            opening = self.fence()
            inside = self.sequence("\\right")
            return f"<mrow>{_fence(opening)}{''.join(inside)}{_fence(self.fence())}</mrow>"
        raise LatexError(f"macro {name!r} is outside the subset")

    def fence(self) -> str:
        """A delimiter after a size macro."""
        token = self.take()
        if token.startswith("\\"):
            if token[1:] in _FENCES:
                return _FENCES[token[1:]]
        elif token in "()[]|/.":
            return "" if token == "." else token
        raise LatexError(f"{token.lstrip(chr(92))!r} is no delimiter")


def _text(command: str, words: str) -> str:
    if command == "text":
        return f"<mtext>{escape(words)}</mtext>"
    return f'<mi mathvariant="normal">{escape(words)}</mi>'


def _greek(letter: str) -> str:
    upright = ' mathvariant="normal"' if letter.isupper() else ""
    return f"<mi{upright}>{letter}</mi>"


def _letter(letter: str) -> str:
    return f'<mi mathvariant="normal">{letter}</mi>'


def _operator(sign: str) -> str:
    return _mo(sign, "")


def _fence(delimiter: str) -> str:
    return _mo(delimiter, ' fence="true" stretchy="true" symmetric="true"') if delimiter else ""


def _takes_limits(name: str) -> bool:
    return name in _LIMITS or (name in _BIG and name not in _INTEGRALS)


def _scripts(base: str, low: str, high: str, *, limits: bool) -> str:
    under, over, both = ("munder", "mover", "munderover") if limits else ("msub", "msup", "msubsup")
    if low and high:
        return f"<{both}>{base}{low}{high}</{both}>"
    if low:
        return f"<{under}>{base}{low}</{under}>"
    return f"<{over}>{base}{high}</{over}>" if high else base


def convert(latex: str) -> str:
    """The MathML inside of ``<math>`` for a formula.

    Raises
    ------
    LatexError
        On anything outside the subset.
    """
    tokens = [token for token in _TOKEN.findall(latex) if not token.isspace()]
    return "".join(_Parser(tokens).sequence(""))


def inline(latex: str) -> str:
    """A formula within a line."""
    return f"<math>{convert(latex)}</math>"


def _top_level_parts(latex: str) -> list[str]:
    r"""A statement cut at every ``,\quad`` outside braces, so that a long one takes several lines."""
    parts, start = [], 0
    for match in re.finditer(r"[,.]?\\quad(?![a-zA-Z])", latex):
        before = latex[: match.start()]
        if before.count("{") - before.count(r"\{") == before.count("}") - before.count(r"\}"):
            parts.append(latex[start : match.start()])
            start = match.end()
    return [part for part in (*parts, latex[start:]) if part.strip()]


def display(latex: str) -> str:
    """A statement as one or more displayed lines."""
    return "".join(f'<math display="block">{convert(part)}</math>' for part in _top_level_parts(latex))
