"""English words that `phrases` tells apart: colours, and what cannot go on a noun."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


COLOURS = _set("""
    red orange yellow green blue purple pink brown black white gray grey tan beige teal turquoise
    cyan aqua magenta maroon burgundy crimson scarlet violet lavender indigo ivory khaki cream gold
    golden silver blonde blond reddish orangish yellowish greenish bluish blueish purplish pinkish
    brownish blackish whitish grayish greyish colorful colourful multicolored multicoloured
    multicolor multicolour
    """)
# Before a colour these belong to it.
SHADES = _set("""
    light lightly dark bright brightly pale deep vivid vibrant brilliant soft dull faded rich neon
    fluorescent pastel solid bold hot baby sky navy royal midnight powder robin forest olive lime
    mint army sea kelly hunter mustard lemon canary brick cherry blood ruby rose burnt rusty jet
    snow snowy pure off dusty metallic shiny glossy very mostly all almost completely entirely
    mainly primarily partly
    """)
# "mustard colored" is a colour, whatever comes before it; so is "of many colors" not.
COLORED = _set("colored coloured color colour hued toned")
MANY = _set("multi multiple many various different several")
# (colour, next word) of things that are called so and need not look so.
FOODS = {
    "orange": _set("""
        juice slice slices wedge wedges peel peels rind zest half halves segment segments piece
        pieces soda tree trees marmalade county section sections fruit fruits drink quarters
        """),
    "cream": _set("cheese pie pies cone cones cake cakes sauce soda puff puffs topping sundae"),
    "white": _set("sox"),
    "red": _set("sox"),
}
NOT_AFTER = {"cream": _set("ice whipped sour butter shaving"), "brown": _set("hash")}
# "A black and white photo" is about no thing in the picture, "a black man" not about a colour.
MEDIA = _set("""
    photo photos photograph photographs photography picture pictures image images shot snapshot pic
    view scene film footage
    """)
MEDIUM_COLOURS = _set("black white gray grey colorful colourful and color vivid very")
PEOPLE = _set("""
    man men woman women boy boys girl girls person persons people guy guys lady ladies male males
    female females kid kids child children couple toddler baby family folks president
    """)
PEOPLE_COLOURS = _set("black white brown")

# What ends a noun.
ARTICLES = _set("a an the his her its their my our your some any each every both another no")
DETERMINERS = ARTICLES | _set("""
    this that these those several many few two three four five six seven eight nine ten one other
    others half either neither multiple various numerous it he she they we i you him them us me
    there who whom whose which what someone something everyone everything nothing himself herself
    itself themselves lots lot all
    """)
PREPOSITIONS = _set("""
    of in on at to from by near next with without behind under underneath beneath over above below
    between among amongst around across along through into onto inside outside against beside
    besides atop during for up down off out past toward towards about like as upon within amid
    alongside via per after before until till while when where than because since if so though
    although also too together away back here forward ahead nearby overhead outdoors indoors
    upright apart sideways downhill uphill aside opposite then now just not still again ready full
    asleep afloat alone parallel close very upside
    """)
CONJUNCTIONS = _set('and or but nor & + / ; : , . ! ? " ( ) -')
COPULAS = _set("""
    is are was were be being been am looks look appears appear seems seem turns turned turn glow
    glows
    """)
AUXILIARIES = _set("has have had having does do did done can could will would may might must")
LINKED_PARTICIPLES = _set("painted colored coloured dyed")
DRESSED = _set("dressed clad clothed decorated done painted")

# Forms of verbs that are no nouns, or seldom.
_VERBS = """
    sit lie lay drive eat wear hold carry go come contain include wait doing
    approach lean make take give prepare serve grow surround chew lick sniff
    bite pose speak write hide peek peer stare gaze glance touch climb follow chase attempt try
    want see overlook perch soar toss reflect adorn remain perform await crouch kneel curl
    snuggle emerge enter leap provide offer say read depict enjoy relax begin lift wander roam sell
    examine cuddle balance emit join grab meander poke create inspect call name let raise feature
    smile
    """
_IRREGULAR = _set("""
    sat stood lied lain laying rode ridden drove driven ate eaten wore worn held flew flown ran went
    gone came hung laid slept took taken threw thrown caught swung made gave given wrote written
    spoke hidden stuck led saw seen grew grown swam bitten shown drawn set left built kept put
    sitting dying lying tying lies carries tries flies passes crosses catches watches pushes touches
    approaches reaches stretches perches munches crashes goes fell lost
    called named
    """)
# Nouns as well: verbs after a noun that they agree with, as in "bus stops", "horses pull".
_EITHER = """
    stand ride show travel stop play point rest drink walk run fly jump sleep pull push hang float
    race swing swim move roll turn work kick sail shake rise park cross glide lounge skate surf
    graze nap hop throw open cut hit balance
    """


def _forms(verb: str) -> set[str]:
    stem = verb[:-1] if verb.endswith("e") else verb
    return {verb, f"{verb}s", f"{verb}es", f"{stem}ing", f"{verb}{verb[-1]}ing"}


VERBS = frozenset().union(*map(_forms, _VERBS.split())) | _IRREGULAR
PLAIN_EITHER = _set(_EITHER)
EITHER_WITH_S = frozenset(f"{verb}s" for verb in PLAIN_EITHER)
# "A black faced sheep" without its colour is "a sheep".
OF_ONE_COLOUR = _set("""
    haired faced headed eyed skinned tipped handled shirted suited coated breasted nosed tailed
    legged bellied topped trimmed toned based
    """)
# Words in -ing, -ed and -ly that are things or plain adjectives.
ING_NOUNS = _set("""
    building buildings ceiling ceilings painting paintings clothing wedding string strings evening
    railing railings awning awnings king kings ring rings wing wings bedding icing frosting
    dressing thing things lighting siding sling swing swings living dining parking cutting racing
    training crossing marking markings topping toppings stuffing filling covering earring earrings
    carving drawing drawings writing lettering wording setting landing flooring paneling trimming
    stocking stockings spring duckling sibling pudding engraving mixing wrapping netting roofing
    fencing tubing plumbing surroundings sewing coloring piping tiling outing stitching webbing
    dwelling casing grating coating molding padding rigging serving
    """)
ED_NOUNS = _set("bed beds shed sheds sled sleds seaweed weed weeds reed reeds seed seeds moped")
LY_NOUNS = _set("""
    family fly butterfly jelly belly lily italy ugly lovely curly wooly woolly early friendly jolly
    bubbly frilly hilly silly july holly
    """)
