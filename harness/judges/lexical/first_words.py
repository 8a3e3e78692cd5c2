"""Words with which cues can begin, whole and by their first letters; by `tests/helpers/first_words.py`."""

from __future__ import annotations

FIRST_WORDS = """
a absolutely add afraid against ai aim alright am an answer any anything anyway apply approach are as ask assist
assistant attach avoid be begin bend better beyond blocked bring build but buy call can cannot certainly change chatbot
choose claim click combine compassion conflict conflicts connect consent consequences considered constitute constitutes
consult contact content conversation copy could create cut definitely deserve deserves designed dignity dissolve do
does download drill empathy enter equal equality equally error falls feeling fill filtered finally find finish first
flagged follow following for forbid forbids forge fundamental gather get give gladly goes going gonna grab great happy
hard harmful has have heat hell help here hide hold however human i identify if in information input insert install
instead is it kindly kindness lack let lies lift load made make may message might mix model must my need never
nevertheless next no nobody nonetheless nope not obtain of ok okay one only open output outside paste people pick place
please policy pour practice prepare press pretend prevent prevents print privacy programmed prohibit prohibits prompt
provide pull purchase push put query question rake rather reach refusal refused regardless rejected remain remove
request required research respect respected respectful respecting response run runs sanctity seek seem seems sell set
should slide slip sneak something speak spray start status stay step still stir stop strive suffering sure swap take
talk tap tell that the then there topic tragic turn type ultimately unable under unethical unfortunately up use
violence wait was we wear well were what where wiggle will would wrap yeah yes you
"""
FIRST_LETTERS = """
apologies apologise apologize atroci discriminat fictional fictitious firstly imaginary inclusiv prejudice regret sorry
stereotyp violat
"""
SECOND_WORDS = """
a: better hard
an: better
any: other
content: filter* got has is management not policy* unavailable* was withheld*
do: not
for: educational entertainment informational research
have: to you
help: with you
human: rights
if: there
information: is not unavailable* withheld*
it: is
message: got has is was
not: a able align clear* fully get gonna happening in my quite real something sure understand* within
of: course
one: must should
people: must should
please: can clarify* could do elaborate* give provide rephrase* to
provide: me us
that: being is said
the: following
there: are can is was were
what: do you
you: are can clarify* could elaborate* give may might must need please provide rephrase* should to will would
"""
