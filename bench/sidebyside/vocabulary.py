"""The words that the benchmark's made-up chat turns are built from.

Sentence frames name their slots in braces. Lists stand in order of how common their words are: the
generator draws from them with Zipf weights, so the first words recur often and the last seldom.
"""

from __future__ import annotations

PEOPLE = """
mom dad my-sister my-brother my-boss my-neighbour Anna Ben Clara David Elena Farid Grace Hiro Ines
Jonas Kavya Liam Mei Noor Oscar Priya Quentin Rosa Samuel Tara Umar Vera Wei Ximena Yusuf Zoe Amara
Bruno Celia Dmitri Esther Felix Gita Hassan Ivy Jamal Kira Leo Mina Nadia Olek Petra Rafael Sofia
""".split()

THINGS = """
phone laptop car bike bag coat camera book ticket key wallet guitar sofa lamp tent printer passport
headphones umbrella kettle backpack desk piano keyboard suitcase watch microscope telescope kayak
drill sewing-machine projector record-player typewriter skateboard heater router thermos tripod
""".split()

FOODS = """
coffee pizza pasta soup bread rice curry salad tea sushi noodles tacos pancakes dumplings ramen
risotto falafel lasagne hummus paella goulash kimchi pho borscht ceviche gnocchi shakshuka baklava
""".split()

HOBBIES = """
running cooking reading swimming yoga hiking gardening painting chess climbing cycling photography
pottery knitting dancing surfing woodworking birdwatching fencing calligraphy astronomy beekeeping
origami archery rowing karate sailing sketching baking juggling genealogy bouldering
""".split()

JOBS = """
teacher nurse developer designer manager student accountant engineer writer electrician lawyer chef
librarian translator pharmacist carpenter architect journalist plumber surveyor biologist
""".split()

PETS = "dog cat puppy kitten rabbit hamster parrot tortoise goldfish ferret gecko canary".split()

ADJECTIVES = """
new old good great small big nice cheap blue red quiet broken green expensive beautiful heavy
strange wooden tiny borrowed second-hand waterproof vintage stubborn brilliant noisy fragile
""".split()

FEELINGS = """
happy tired excited worried nervous relieved proud bored sad confused grateful annoyed curious
homesick overwhelmed jealous hopeful restless
""".split()

TIMES = """
today yesterday tomorrow tonight last-week next-week this-morning on-Monday on-Friday last-month
next-month on-Sunday in-March in-June last-summer on-Tuesday in-October over-the-weekend on-Saturday
in-December two-years-ago on-Wednesday in-April before-breakfast on-Thursday in-August at-midnight
""".split()

ILLNESSES = """
headache cold cough back-pain fever allergy migraine toothache insomnia asthma sprained-ankle
""".split()

FRAMES = (
    "I bought a {adjective} {thing} {time}",
    "{person} gave me a {adjective} {thing} {time}",
    "I am going to {place} with {person} {time}",
    "We went to {place} {time} and it was {adjective}",
    "I started {hobby} {time}, {person} talked me into it",
    "{person} works as a {job} in {place}",
    "I have been feeling {feeling} since {time}",
    "My {pet} {name} is {feeling} again",
    "I had {food} with {person} {time}",
    "I can't eat {food} any more, it gives me a {illness}",
    "Can you remind me to call {person} {time}?",
    "The {thing} I left in {place} is still missing",
    "I prefer {food} to {food2}, especially {time}",
    "My appointment in {place} moved to {number} o'clock {time}",
    "{person} is moving to {place} {time}",
    "I paid {number} euros for the {thing}, which seems {adjective}",
    "The {hobby} class at {venue} starts {time}",
    "I got {feeling} when {person} mentioned {place}",
    "We adopted a {pet} called {name} {time}",
    "I am reading a book by {author} about {hobby}",
    "My {illness} came back {time}, so I skipped {hobby}",
    "Do you know a good place for {food} in {place}?",
    "I want to quit my job as a {job} and do more {hobby}",
    "{person} lent me the {adjective} {thing} from {venue}",
    "The train from {place} to {place2} was {number} minutes late {time}",
    "I finished {number} pages of my report {time}",
    "{person} and I watched a film by {author} {time}",
    "Our flight to {place} leaves at {number} {time}",
    "I signed up for a {hobby} race in {place}, {number} kilometres",
    "The doctor said my {illness} should be gone {time}",
)

ANSWERS = (
    "That sounds {adjective}, tell me more about {place}",
    "I have noted that {person} will be in {place} {time}",
    "You could try the {food} at {venue}, people in {place} like it",
    "Since you enjoy {hobby}, the {thing} may be worth {number} euros",
    "I hope your {illness} gets better before you see {person}",
    "Here is a plan: {food} with {person} {time}, then {hobby}",
    "Remember that {name} the {pet} needs the vet {time}",
    "There is a {hobby} evening at {venue} {time}",
    "Being {feeling} before a trip to {place} is normal",
    "A {job} in {place} can help you with the {adjective} {thing}",
)

FILLERS = ("By the way: ", "Oh, one more: ", "Hm. ", "OK. ", "Right. ", "Well. ", "", "", "", "")

QUESTIONS = (
    "what did I say about {words}?",
    "do you remember {words}?",
    "{words}",
    "when was it that I mentioned {words}?",
    "remind me of {words}",
    "who was it with {words}?",
)

ONSETS = "b br d dr f g h j k kl l m n p r s st t tr v z".split()
NUCLEI = "a e i o u ai ea ou".split()
CODAS = ["", "", "n", "l", "r", "s", "nd", "rk", "m", "x"]
