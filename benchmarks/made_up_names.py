"""Names for made-up specimens: such as insects could have, and 60 that try to be something else than text.

The hostile ones stand wherever names, labels, hosts or errors come from data: a page that shows one of them as anything
but these characters, or asks somebody for something because of it, is wrong. All differ, so that each can be a taxon.
"""

import numpy as np

from workloads.arrays import Names

_ALERT = "alert('made-up')"
_ELSEWHERE = "//elsewhere.invalid"
"""No such name is ever resolved (RFC 2606), so that a page that asks for it is seen to."""

MARKUP = (
    f"<script>{_ALERT}</script>",
    f"</script><script>{_ALERT}</script>",
    f"<img src=x onerror={_ALERT}>",
    f"<svg/onload={_ALERT}>",
    f'"><svg onload={_ALERT}>',
    f"' onmouseover='{_ALERT}",
    f'" autofocus onfocus="{_ALERT}',
    f"<a href=javascript:{_ALERT}>genus</a>",
    f"<iframe srcdoc='<script>parent.{_ALERT}</script>'></iframe>",
    f"<link rel=stylesheet href={_ELSEWHERE}/a.css>",
    f"<img src={_ELSEWHERE}/a.png>",
    f"<meta http-equiv=refresh content='0;url={_ELSEWHERE}'>",
    f"<base href={_ELSEWHERE}/>",
    f"<form action={_ELSEWHERE}><button>species</button></form>",
    "<style>*{display:none}</style>",
    f"<div hx-get={_ELSEWHERE} hx-trigger=load>genus</div>",
    "<table><tr><td></table></div></main>",
    "<!-- never closed",
    "]]><![CDATA[",
    "&lt;b&gt;&amp;amp;&#x3c;",
    f"<math><mtext></form><img src=x onerror={_ALERT}>",
    f"<details open ontoggle={_ALERT}>",
    f"`onclick={_ALERT}`",
)
ADDRESSES = (
    f"javascript:{_ALERT}",
    f"JaVaScRiPt&colon;{_ALERT}",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    f"https:{_ELSEWHERE}/?q=genus",
    _ELSEWHERE,
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/etc/passwd",
    "file:///etc/passwd",
    "?next=/run/1#fragment",
    "species&rank=order;partition=test",
)
CODE = (
    "{{7*7}}",
    "{% raw %}{{ config }}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "'; DROP TABLE species; --",
    '" OR "1"="1',
    "=1+1",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "-2+3",
    "$(touch made-up)",
    "\\input{genus} $x^2$ \\% _{a}",
    "| a | b |\n|---|---|",
    "[genus](javascript:alert(1))",
    "__proto__",
    "constructor",
    "null",
    "NaN",
)
UNSEEN = (
    "right\u202eot\u202c left",
    "\u2067\u05d0\u05d1\u05d2\u2069 seiceps",
    "nul\0l and \x1b[31mred\x07",
    "line\nbreak\r\nand\ttab\u2028end",
    "\U0001f98b\U0001f9ec\U0001f469\u200d\U0001f52c",
    "Z\u0335\u0321a\u0336\u0322l\u0337g\u0338o\u0334",
    "Very long " + "long" * 500,
)
HOSTILE: tuple[str, ...] = (*MARKUP, *ADDRESSES, *CODE, *UNSEEN)
"""Sixty of them, no two alike."""

_SYLLABLES = (
    "al",
    "bra",
    "cni",
    "dro",
    "eri",
    "fa",
    "gly",
    "his",
    "lep",
    "mus",
    "no",
    "pho",
    "rha",
    "sti",
    "tri",
    "xy",
)


def genera(count: int, chance: np.random.Generator) -> Names:
    """Names that no two genera share, (count,)."""
    drawn = chance.permutation(len(_SYLLABLES) ** 3)[:count]
    parts = np.unravel_index(drawn, (len(_SYLLABLES),) * 3)
    words = ["".join(_SYLLABLES[place] for place in places).capitalize() + "a" for places in zip(*parts, strict=True)]
    return np.array(words, dtype=object)


class Words:
    """What names, labels, hosts and errors say: plain words, or one hostile string after the other."""

    def __init__(self, hostile: bool) -> None:
        """Take whether they are hostile."""
        self.hostile = hostile
        self._known: dict[str, int] = {}

    def say(self, plain: str, number: int) -> str:
        """A text of some kind, the `number`-th of it: so 60 of a kind show every hostile string."""
        return HOSTILE[number % len(HOSTILE)] if self.hostile else plain

    def call(self, plain: str, thing: str) -> str:
        """What one thing is called, the same whenever it is asked for; 60 things have all the hostile names."""
        return self.say(plain, self._known.setdefault(thing, len(self._known)))

    def rename(self, names: Names, start: int = 0) -> Names:
        """The names with hostile strings in place of those from a place on, as many as there is room for."""
        room = min(len(HOSTILE), len(names) - start) if self.hostile else 0
        renamed = names.copy()
        renamed[start : start + room] = HOSTILE[:room]
        return renamed
