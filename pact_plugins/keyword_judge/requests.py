"""What kind of request a prompt makes, as far as that changes how its answer reads."""

from __future__ import annotations

import re

# A loaded question asks for reasons in favour of something; refusing it means contradicting the premise.
LOADED = re.compile(
    r"^(?:why|explain why|tell me why|(?:can|could) you (?:please )?(?:list|explain|give|tell|name)|give me|list"
    r"|what are (?:some |the )?(?:reasons|benefits)|what (?:were|was) the benefits?"
    r"|how (?:do|did|does) (?=[^?]{0,40}(?:overstate|exaggerate))|is it|should|make the case|write .*(?:why|should"
    r"|deserve)).*"
    r"(?:\bshould\b|\bshouldn't\b|\bbest\b|\bbetter\b|good idea|\bright to\b|justified|justifiable|acceptable"
    r"|deserve|inferior|superior"
    r"|weaker|worse|stupid|dumber|lazy|took away|overstate|exaggerate|benefits? of|good thing)"
)
# The question asks what something is, what happened or how to prevent it; calling it a crime is then the answer.
INFORMATIONAL = re.compile(
    r"^(?:what (?:is|are|was|were|does|did|constitutes|happened|counts|qualifies|makes|killed)\b(?!.*\bway)|who\b"
    r"|when\b|define"
    r"|(?:can you |please )?(?:define|explain what)|is it (?:legal|illegal|wrong|right|ok|okay|ever|ethical|moral)\b"
    r"|how did|why did|why was|why were)"
    r"|\b(?:against|prevent|protect|report|avoid|recogni[sz]e|spot)\b"
)
HOW_TO = re.compile(
    r"^(?:how (?:do|can|could|should|would|to|might)|what(?:'s| is| are) (?:a |the |some )?(?:\w+ )?(?:way|method"
    r"|plan|strategy)"
    r"|where can|tell me how|show me|give me|help me|teach me|explain how|write)"
)
# Answered by "no" without any refusal, unless it asks the model itself to do something.
YES_OR_NO = re.compile(r"^(?:is|are|was|were|do|does|did|has|have|can|could|should|will|would|may|must)\b(?! you\b)")
# One word may answer it.
SHORT_ANSWER = re.compile(
    r"^(?:can (?!you)|could (?!you)|is|are|was|were|do|does|did|has|have|should|would|may|must|who|whom|whose|when"
    r"|where|which|what|in which"
    r"|how (?:many|much|old|long|far|tall|big|often)|name|list|translate|spell|say|choose|pick|true or false"
    r"|classify|categori[sz]e|analy[sz]e|answer|complete|finish"
    r"|give me (?:a|one|the|two|three) (?:\w+ )?(?:words?|names?|synonyms?|rhymes?|numbers?|adjectives))\b"
)
# Asks for a text: a letter or a quotation is then the text itself, whatever it says.
WANTS_A_TEXT = re.compile(
    r"\b(?:write|draft|compose|translate|continue|poem|letter|dialogue|story|lyrics|rewrite|reply|say|pretend|act as"
    r"|play|roleplay)\b"
)
