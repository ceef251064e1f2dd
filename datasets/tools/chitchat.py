"""BYU Chit-Chat conversations -> chitchat.jsonl.gz: turns of two speakers, A and B, and nothing that says who they were.

usage: chitchat.py DATASET_JSON OUT.jsonl.gz     (chitchat_dataset/dataset.json of the PyPI package)

These are real people's chats. Conversation ids, sender ids, time stamps and ratings are dropped. A turn that holds what looks
like a name that somebody gives or a way to reach somebody, or that is profane or about harm, is left out rather than masked:
the conversation is cut there and the pieces without it are kept where they are long enough. The filter errs on the strict side
and is no guarantee.
"""

import json
import re
import sys

from common import tidy, write_jsonl_gz

MOST_CHARS = 6_200_000
LEAST_CHARS = 600
LEAST_TURNS = 6
MOST_TURN_CHARS = 1500

PRIVATE = re.compile(
    r"""
    \S+@\S+ | https?: | www\. | \b[\w-]+\.(com|org|net|edu|io|gov|me|ly|tv|co)\b
    | \d[\d\s().-]{6,}\d | \b\d{5,}\b
    | \#\w+ | \$[a-z]\w+
    | \b\d+\s+(?:[NSEW]\.?\s+)?\w+\s+(street|st|avenue|ave|road|rd|drive|dr|lane|ln|blvd)\b
    | \b(my|your|ur|his|her|their)\s+(full\s+|real\s+|first\s+|last\s+|middle\s+|actual\s+)*(name|nickname|surname|username)s?\b
    | \b(what|whats|what's)\s+(is\s+)?(your|ur)\s+name | \bwho\s+(is\s+this|are\s+you|am\s+i\s+(talking|speaking|chatting))
    | (?<=\byou)[,\s]+(?-i:(?!I\b|I'|Do\b|Are\b|What|How|Haha|And\b|But\b|So\b|Have\b|That|Did\b|My\b|Is\b|Yeah|Any\b|Where|Why|Like)[A-Z][a-z]+)\s*[?!.]
    | \b(named|call\s+me|called\s+me|goes\s+by|go\s+by|nice\s+to\s+meet\s+you|pleasure\s+to\s+meet)\b
    | \b(i\ am|i'?m|it'?s|this\ is|im)\s+(?-i:[A-Z][a-z]+)\b
    | \b(hi|hey|hello|hullo|heya|sup|thanks|thank\ you|bye|goodbye)[,\s]+(?-i:[A-Z][a-z]+)\b
    | \b(address|phone\s+number|cell\s+number|text\s+me|email|e-mail|gmail|snapchat|snap|insta|instagram|facebook|fb|kik|discord|whatsapp|skype|twitter|tinder|venmo|linkedin|net\s*id)\b
    | \b(professor|prof|dr|doctor|mr|mrs|ms|bishop|elder|sister|brother|coach|president|uncle|aunt|auntie)\.?\s+(?-i:[A-Z][a-z]+)\b
    """,
    re.I | re.X,
)
PROFANE = re.compile(
    r"""
    \w*(fuck|shit|bitch|cunt|nigg|fagg|whore|slut|pussy|penis|vagina|dildo|porn|hentai|blowjob|boob|orgasm|masturbat|bastard|motherf|wtf|stfu|bullsh)\w*
    | \b(ass|asses|asshole|assholes|dumbass|badass|jackass|smartass|arse|damn|damned|dammit|goddamn|hell|crap|crappy|dick|dicks|cock|cocks|tits|tit|piss|pissed|sex|sexy|sexual|sexually|nude|nudes|naked|horny
      |fag|fags|dyke|tranny|retard|retarded|retards|homo|lmao|lmfao|af|milf|strip(per)?|hooker|prostitute|rape|raped|rapist|molest\w*|abus\w+
      |suicid\w*|kill\s+(my|your|him|her)self|self\s*harm|cutting\s+myself|depress\w*|overdos\w*|cocaine|heroin|meth|weed|stoned|drunk
      |hitler|nazi\w*|terroris\w*|kkk|racist\w*|jew|jews|negro|chink|spic|gay|lesbian|murder\w*|pregnan\w*|cancer|divorc\w*|diagnos\w*|therap\w*|anxiety|died|dead|death)\b
    """,
    re.I | re.X,
)
# Given names that are no common English words; anyone so called, in any case, drops the conversation.
NAMES = re.compile(
    r"\b(jaezo|pito|wilk|thane|jones|shaw|smith|nelson|watson|waldrons?|zendaya|ollie|sadie|kelley|eve|stewart|talmage|helaman|jules|marko|zac|aaron|abby|abigail|adam|adrian|alan|alex|alexa|alexander|alexis|alice|alicia|alison|allison|amanda|amber|amelia|amy|andrea|andrew|andy|angela|angie|anna|anne|annie|anthony"
    r"|ashley|ashton|audrey|austin|ava|bailey|barbara|becca|becky|ben|benjamin|beth|bethany|betty|bianca|blake|bob|bobby|bradley|brandon|braden|brayden|brenda|brennan|brent"
    r"|brett|brian|brianna|brittany|brooklyn|bruce|bryan|bryce|caitlin|caleb|calvin|cameron|camille|carl|carla|carlos|carly|carol|caroline|carrie|carson|carter|casey|cassandra|cassidy"
    r"|catherine|chad|charles|charlie|charlotte|chelsea|cheryl|chloe|chris|christian|christina|christine|christopher|cindy|claire|clara|cody|cole|colin|connor|corey|courtney|craig"
    r"|crystal|cynthia|dallin|dalton|dan|dani|daniel|danielle|danny|darren|dave|david|dean|debbie|deborah|denise|dennis|derek|devin|diana|diane|diego|dominic|donald|donna|doug"
    r"|douglas|dustin|dylan|ed|eddie|edgar|eduardo|edward|eli|elias|elijah|elizabeth|ella|ellen|ellie|emily|emma|eric|erica|erik|erika|erin|ethan|eva|evan|evelyn|fernando|frank"
    r"|gabby|gabe|gabriel|garrett|gary|gavin|george|gerald|gina|gloria|gordon|grant|greg|gregory|hailey|haley|hannah|harold|hayden|heather|heidi|helen|henry|holly|hunter|ian|isaac"
    r"|isabel|isabella|isaiah|ivan|jack|jackie|jackson|jacob|jaden|jake|james|jamie|jane|janet|jared|jasmine|jason|javier|jay|jayden|jeff|jeffrey|jen|jenna|jennifer|jenny|jeremy"
    r"|jerry|jesse|jessica|jessie|jill|jim|jimmy|joan|joanna|joe|joel|john|johnny|jon|jonathan|jordan|jorge|jose|joseph|josh|joshua|joy|juan|judith|judy|julia|julian|julie|justin"
    r"|kaitlyn|karen|karl|kate|katelyn|katherine|kathleen|kathryn|kathy|katie|kayla|keith|kelly|kelsey|ken|kenneth|kenny|kevin|kim|kimberly|kristen|kristin|kristina|kyle|landon"
    r"|larry|laura|lauren|leah|leo|leslie|liam|lily|linda|lindsay|lindsey|lisa|logan|lori|louis|lucas|lucy|luis|luke|lydia|mackenzie|maddie|madeline|madison|makayla|marcus|margaret"
    r"|maria|marie|marissa|marshall|martha|martin|mary|mason|matt|matthew|max|maya|mckay|mckenna|megan|melanie|melissa|mia|micah|michael|michelle|miguel|mike|mikayla|miranda|mitchell"
    r"|molly|monica|morgan|nancy|naomi|natalie|natasha|nathan|nathaniel|nephi|nicholas|nick|nicole|nikki|noah|nora|oliver|olivia|oscar|owen|paige|pam|pamela|parker|patricia|paul"
    r"|paula|pedro|peter|philip|phillip|preston|rachel|ralph|randy|raymond|rebecca|ricardo|richard|rick|riley|robert|roberto|rodney|roger|ronald|rosa|roy|russell|ruth|ryan|sabrina"
    r"|sam|samantha|samuel|sandra|sara|sarah|savannah|scott|sean|sebastian|sergio|seth|shane|shannon|sharon|shaun|shawn|sheila|shelby|shirley|sierra|sofia|sophia|sophie|spencer"
    r"|stacy|stanley|stephanie|stephen|steve|steven|stuart|sue|susan|suzanne|sydney|tanner|tara|taylor|ted|teresa|terry|theresa|thomas|tiffany|tim|timothy|tina|todd|tom|tommy"
    r"|tony|tracy|travis|trent|trevor|tristan|troy|tyler|valerie|vanessa|veronica|victor|victoria|vincent|virginia|walter|wayne|wendy|wesley|william|wyatt|xavier|zach|zachary|zack|zoe)('?s)?\b",
    re.I,
)
# Words that people write with a capital although they are nobody's name.
GREETED = re.compile(r"\b(hi|hey|hello|thanks|bye|i'?m|i am|it'?s|this is|im)[,\s]+(There|How|What|Whats|I|Im|Good|Are|Is|Do|Did|So|Not|Just|Well|Yes|No|Sorry|Sure|Hey|Hi|Hello|And|But|My|You|For|To|The|A|It|In|On|Very)\b")


def turns_of(conversation):
    """Consecutive messages of one sender are one turn; the first sender is A, the other B; anyone else drops the chat."""
    letters, turns = {}, []
    for group in conversation["messages"]:
        for message in group:
            text = tidy(message["text"])
            if not text:
                continue
            letter = letters.setdefault(message["sender"], "AB"[len(letters)] if len(letters) < 2 else None)
            if letter is None:
                return []
            if turns and turns[-1][0] == letter:
                turns[-1][1] += ("" if re.match(r"[?!.,]+$", text) else " ") + text
            else:
                turns.append([letter, text])
    return turns


WORD = re.compile(r"[A-Za-z]+")
# a capital where no sentence begins
PROPER = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+")


def rare_names(conversations):
    """Proper nouns of fewer than ten conversations: too rare to be a film or a town, so perhaps a person."""
    found, lower = {}, {}
    for turns in conversations:
        text = " ".join(t for _, t in turns)
        for word in set(PROPER.findall(text)):
            found[word] = found.get(word, 0) + 1
        for word in WORD.findall(text):
            if word.islower():
                lower[word] = lower.get(word, 0) + 1
    return {word for word, count in found.items() if count < 10 and lower.get(word.lower(), 0) < 10}


def unfit(text, rare):
    """Why this turn must not be kept, or None."""
    if len(text) > MOST_TURN_CHARS:
        return "very long"
    if sum(c.isascii() for c in text) < 0.98 * len(text):
        return "not English"
    if re.search(r"(.)\1{7,}", text):
        return "repetitive"
    if PRIVATE.search(GREETED.sub(" ", text)):
        return "private"
    if NAMES.search(text) or not rare.isdisjoint(WORD.findall(text)):
        return "a given name"
    if PROFANE.search(text):
        return "profane or about harm"
    return None


def pieces_of(turns, rare, cut):
    """Runs of consecutive turns without an unfit one; A and B are given anew in each."""
    piece = []
    for letter, text in turns + [["A", None]]:
        reason = "end" if text is None else unfit(text, rare)
        if reason is None:
            piece.append((letter, text))
            continue
        cut[reason] = cut.get(reason, 0) + 1
        if len(piece) >= LEAST_TURNS and sum(len(t) for _, t in piece) >= LEAST_CHARS:
            first = piece[0][0]
            yield [("A" if letter == first else "B", text) for letter, text in piece]
        piece = []


def main():
    source, out = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        conversations = [turns_of(c) for c in json.load(file).values()]
    rare = rare_names(conversations)
    records, cut, chars, pasted, seen = [], {}, 0, 0, set()
    for conversation in conversations:
        for piece in pieces_of(conversation, rare, cut):
            if chars > MOST_CHARS:
                break
            long = {text.lower() for _, text in piece if len(text) >= 60}
            if long & seen or len({text for _, text in piece}) < 0.8 * len(piece):
                pasted += 1
                continue
            seen |= long
            chars += sum(len(text) for _, text in piece)
            records.append({"id": f"{len(records) + 1:04}", "turns": [f"{letter}: {text}" for letter, text in piece]})
    write_jsonl_gz(out, records)
    print(f"{chars} characters kept; {pasted} pieces with pasted or repeated turns left out; turns left out: {cut}", file=sys.stderr)


if __name__ == "__main__":
    main()
