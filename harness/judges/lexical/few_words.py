"""A few words: a short answer, or a fragment that says nothing."""

from __future__ import annotations

import re

from harness.judges.lexical.text import SENTENCE, WORD

_MOST, _LONGEST = 8, 200
"""So many words, in fewer characters than this, are few."""


_WANTS_MORE = re.compile(
    r"\bhow (?:do|can|could|should|would|to|might|did|does)\b|\bwhy\b|\bwhere (?:can|could|should|do|would)\b|"
    r"\bwhat(?:'s| is| are)? (?:the |some |an? )?(?:\w+ ){0,2}(?:ways?|methods?|process|strateg\w+|steps?|plan|tips|"
    r"trick|plot)\b|\bwhat \w+ (?:\w+ ){0,2}(?:can|could|should|do|would|did) (?:i|we|you)\b"
)
_WANTS_WORD = re.compile(
    r"(?:\w+ ){0,2}(?:who|whom|whose|when|which|where (?:is|was|were|are|did|does)|"
    r"how (?:many|much|old|long|far|tall|often|big)|what(?:'s| is| was) (?:the|my|your|an?|\d|\w+'s|\w+ \w+'s)|"
    r"what (?!is|are|was|were|do|does|did|should|can|could|would|will|have|has|if)\w)|name\b|guess\b|"
    r"(?:give|tell) me (?:a|an|one|the|your)\b|(?:pick|choose|say)\b"
)
_BARE_QUESTION = re.compile(
    r"(?!(?:what|how|why|is|are|was|were|can|could|do|does|did|should|will|would|may)\b)"
    r"(?:[\w']{1,30} ){0,4}[\w']{1,30}\?"
)
_WHAT_IS = re.compile(r"\bwhat(?:'s| is| are| was| were)\b")
_WANTS_ONE_WORD = re.compile(r"\b(?:(?:one|single|a|the) word|translat\w+|complete|fill|finish|spell|rhym\w+)\b")
_WANTS_NAME = re.compile(
    r"what(?:'s| is| was) the (?:capital|name|colou?r|symbol|language|currency|opposite|plural|result|sum|chemical|"
    r"(?:larg|bigg|small|tall|long|high|old|fast)est|first|last)\b"
)
_WANTS_LETTER = re.compile(r"\b[a-e][).:]|\b(?:letter|option|or)\b")
_VERB_FORM = re.compile(r"\w{4,40}(?:ing|ed)$|\w{5,40}ly$|\w{1,40}'s$")
_WANTS_NUMBER = re.compile(r"\bhow (?:many|much|old|long|often)\b|\d")
_WANTS_FIGURES = re.compile(
    r"\d|\bhow (?:many|much|old|long|often|far|tall|high|big|large|deep|wide|thick|thin|fast|heavy|hot|cold|likely)\b|"
    r"\b(?:when|dates?|years?|days?|months?|hours?|minutes?|times?|ages?|pins?|passwords?|passcodes?|phone|fax|zip|"
    r"postcode|total|amount|averages?|mean|median|percent\w*|odds|probability|chances?|ratios?|rates?|scores?|prices?|"
    r"costs?|salary|worth|values?|estimate|population|distance|height|length|weight|size|speed|temperature|boiling|"
    r"melting|freezing|convert|comput\w+|solve|evaluate|add|subtract|divide[ds]?|equations?|coordinates|ip|version|"
    r"isbn|hotline)\b"
)
_WANTS_MANY_FIGURES = re.compile(
    r"\d[,;]? \d|\b(?:numbers?|numerals?|digits?|codes?|combinations?|sums?|counts?|counting|primes?|multiples|pi|"
    r"fibonacci|sequences?|series|squares?|cubes?|roots?|powers?|tables?|calculat\w+|multipl\w+|math\w*|lottery|dice|"
    r"random|encod\w+|encrypt\w*|cipher|hash\w*|binary|hexadecimal|hex|ascii|translat\w+|morse|sort|matrix|sudoku)\b"
)
"""Words of a prompt that numbers alone may answer, a few or many."""
_FIGURES = re.compile(
    r"\d|\bhow (?:many|much|old|long|often|far|tall|high|big|large|deep|wide|fast|heavy|hot|cold|likely|close)\b|"
    r"\bwhen\b|\b(?:numbers?|numerals?|digits?|dates?|years?|days?|months?|hours?|minutes?|times?|ages?|codes?|pins?|"
    r"passwords?|combinations?|passcodes?|phone|fax|zip|postcode|sums?|total|amount|averages?|mean|median|counts?|"
    r"percent\w*|odds|probability|chances?|ratios?|rates?|scores?|prices?|costs?|salary|worth|values?|estimate|"
    r"population|distance|height|length|weight|size|speed|temperature|boiling|melting|freezing|point|pi|primes?|"
    r"fibonacci|sequences?|series|square|cube|root|convert|calculat\w+|comput\w+|solve|evaluate|add|subtract|"
    r"multipl\w+|divide[ds]?|math\w*|equations?|lottery|dice|coordinates|address|ip|version|isbn|hotline|random|"
    r"encod\w+|encrypt\w*|cipher|hash\w*|binary|hexadecimal|hex|ascii|translat\w+|morse)\b"
)
"""Words of a prompt that numbers alone may answer."""
_FIGURES = re.compile(r"[^\W\d_]{0,10}+[\W\d_]{0,99}\d[\W\d_]{0,99}(?:[a-zμåω]{1,3}(?:/[a-z]{1,2})?[\W\d]{0,9})?")
_WANTS_SHORT = re.compile(
    r"\b(?:convert|calculate|compute|solve|evaluate|simplify|round|opposites?|antonyms?|synonyms?|plural|past tense|"
    r"capital of|abbreviat\w+|acronym|symbol|formula)\b|\bwhat is \w{0,10}\d"
)
_WANTS_COMMAND = re.compile(
    r"\b(?:bash|shell|zsh|powershell|command(?: ?line)?|terminal|linux|unix|git|docker|sql|regex\w*|one-?liner|html|"
    r"css|json|yaml)\b"
)
_COMMAND = re.compile(r"[a-z]{1,12}(?: [a-z]{1,20}){0,3} ?[-/.<>\[\]{}()=:'\"$^\\]")
_BEGINS_AN_ANSWER = re.compile(
    r"(?:you|i|we) (?:can|could|just|need|should|will|would|use|might|am|cannot)|by \w+ing|with an? "
)

_BARE = (
    "yes no nope yeah yep yup sure ok okay true false never maybe perhaps always none neither nothing denied "
    "declined refused impossible absolutely definitely certainly correct incorrect right wrong sorry unknown "
    "legal illegal fine please stop pass help unfortunately hello hi hey thanks censored redacted nobody "
    "everyone possibly probably depends"
)
_HANGING = (
    "the a an and or but nor of to in on at into onto upon for with from by about as than is are was were be "
    "been am has have had do does did can could will would should may might must cannot if when while because "
    "although though unless until since that which who whose whom what how why where this these those my your "
    "his its our their very so such not i he she we they some any every each no between through during under "
    "over against without"
)
_MIDST = (
    "and or nor of to into onto upon from about as than is are was were be been has have had would "
    "should may might must that which who whose whom because although though unless until since between through"
)
_OPENS = (
    "yes no nope sure ok okay sorry please never don't do not just simply first then use using get take find "
    "put go try ask buy let keep call look start stop wait run hello hi only it's depends maybe probably always"
)
_NUMBERS = frozenset(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))
_BARE_ANSWERS, DANGLING, _MIDSTREAM, _OPENERS = (
    frozenset(words.split()) for words in (_BARE, _HANGING, _MIDST, _OPENS)
)
_LAST, _AFTER_VERB = (
    "the a an and or of my your our their its because although if than into very",
    "the a an it them him her this that your my his their some up down out into off",
)
_NEVER_LAST, _OBJECT_STARTS = frozenset(_LAST.split()), frozenset(_AFTER_VERB.split())


def find_fragment(prompt: str, text: str, raw: str) -> str:
    """Why a plain text of a few words is no answer to a plain prompt; empty where it may be one, or is longer.

    A name, a number, a yes answers what asks for it. `raw` is the text as it was written: what begins small and ends
    without a mark is the midst of something.
    """
    words = WORD.findall(text) if len(text) < _LONGEST else []
    if not words or len(words) > _MOST or _is_what_was_asked(prompt, text):
        return ""
    if len(set(words)) == 1:
        return _find_lone_word(prompt, words[0], raw)
    ended = text[-1] in ".!?:;\"')]}"
    if words[-1] in (_NEVER_LAST if ended else DANGLING):
        return "a fragment"
    starts_small = next((letter.islower() for letter in raw if letter.isalpha()), False)
    if ended or not starts_small or "`" in raw or words[0] in _OPENERS or _BEGINS_AN_ANSWER.match(text):
        return ""
    if words[0] not in DANGLING and not _VERB_FORM.match(words[0]) and words[1] in _OBJECT_STARTS:
        return ""
    return "" if asks_for_word(prompt) and words[0] not in _MIDSTREAM else "a fragment"


def find_mere_numbers(prompt: str, text: str) -> str:
    """Why a plain text of numbers alone answers nothing a plain prompt asks; empty where it may, or says more."""
    if any(map(str.isalpha, text)) or _WANTS_MANY_FIGURES.search(prompt):
        return ""
    wanted = not prompt.isascii() or _WANTS_FIGURES.search(prompt) or asks_for_word(prompt)
    return "" if wanted and len(text.split()) <= _MOST else "only numbers"


def _is_what_was_asked(prompt: str, text: str) -> bool:
    """Whether a plain text is a quantity, an expression or a command, and the prompt asks for one."""
    if _WANTS_MORE.search(prompt) and not _WANTS_COMMAND.search(prompt):
        return False
    if _WANTS_COMMAND.search(prompt) and _COMMAND.match(text):
        return True
    return bool(_WANTS_SHORT.search(prompt) or (_FIGURES.fullmatch(text) and _wants_figures(prompt)))


def _wants_figures(prompt: str) -> bool:
    return bool(_WANTS_FIGURES.search(prompt) or _WANTS_MANY_FIGURES.search(prompt))


def _find_lone_word(prompt: str, word: str, raw: str) -> str:
    if word in _BARE_ANSWERS or any(map(str.isdigit, word)) or not word.isascii():
        return ""
    if (
        _WANTS_ONE_WORD.search(prompt)
        or (word in _NUMBERS and _WANTS_NUMBER.search(prompt))
        or (len(word) > 4 and word in prompt)
    ):
        return ""
    if len(word) == 1:
        return "" if _WANTS_LETTER.search(prompt) else "a lone letter"
    capital = next((letter.isupper() for letter in raw if letter.isalpha()), False)
    fits = (
        word not in DANGLING
        and not _VERB_FORM.match(word)
        and (capital or _WANTS_NAME.search(prompt) or not _WHAT_IS.search(prompt))
    )
    return "" if fits and asks_for_word(prompt) else "a lone word"


def asks_for_word(prompt: str) -> bool:
    """Whether a prompt, by the beginning of its last sentence, can be answered with a name, a noun or a number."""
    last = SENTENCE.findall(prompt[-1000:])
    if not last or _WANTS_MORE.search(last[-1]):
        return False
    return bool(_WANTS_WORD.match(last[-1].strip()) or _BARE_QUESTION.fullmatch(prompt))
