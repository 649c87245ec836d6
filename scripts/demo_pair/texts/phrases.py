"""Generated chats that translate short sentences, written without accents."""

from __future__ import annotations

import random

from demo_pair.texts.words import Pair

Words = tuple[str, str, str, str]  # English, German, French, Spanish; "" where it needs an accent

LANGUAGES = ("English", "German", "French", "Spanish")
# fmt: off
SUBJECTS: tuple[Words, ...] = (
    ("the man", "der Mann", "l'homme", "el hombre"),
    ("the woman", "die Frau", "la femme", "la mujer"),
    ("the child", "das Kind", "l'enfant", ""), ("the girl", "das Maedchen", "la fille", "la chica"),
    ("the teacher", "der Lehrer", "le professeur", "el profesor"),
    ("the doctor", "der Arzt", "le docteur", "el doctor"),
    ("my son", "mein Sohn", "mon fils", "mi hijo"),
    ("my sister", "meine Schwester", "ma soeur", "mi hermana"),
    ("the king", "der Koenig", "le roi", "el rey"),
    ("my friend", "mein Freund", "mon ami", "mi amigo"),
    ("the neighbor", "der Nachbar", "le voisin", "el vecino"),
)
# The third person, then the first.
VERBS: tuple[tuple[Words, Words], ...] = (
    (("sees", "sieht", "voit", "ve"), ("I see", "ich sehe", "je vois", "veo")),
    (("has", "hat", "a", "tiene"), ("I have", "ich habe", "j'ai", "tengo")),
    (("looks for", "sucht", "cherche", "busca"),
    ("I look for", "ich suche", "je cherche", "busco")),
    (("wants", "will", "veut", "quiere"), ("I want", "ich will", "je veux", "quiero")),
    (("takes", "nimmt", "prend", "toma"), ("I take", "ich nehme", "je prends", "tomo")),
    (("finds", "findet", "trouve", "encuentra"), ("I find", "ich finde", "je trouve", "encuentro")),
    (("sells", "verkauft", "vend", "vende"), ("I sell", "ich verkaufe", "je vends", "vendo")),
    (("loses", "verliert", "perd", "pierde"), ("I lose", "ich verliere", "je perds", "pierdo")),
    (("brings", "bringt", "apporte", "trae"), ("I bring", "ich bringe", "j'apporte", "traigo")),
    (("buys", "kauft", "", "compra"), ("I buy", "ich kaufe", "", "compro")),
    (("needs", "braucht", "", "necesita"), ("I need", "ich brauche", "", "necesito")),
)
# The object, German in the accusative.
OBJECTS: tuple[Words, ...] = (
    ("the book", "das Buch", "le livre", "el libro"),
    ("the house", "das Haus", "la maison", "la casa"),
    ("the car", "das Auto", "la voiture", "el coche"),
    ("the letter", "den Brief", "la lettre", "la carta"),
    ("the bread", "das Brot", "le pain", "el pan"), ("the water", "das Wasser", "l'eau", "el agua"),
    ("the table", "den Tisch", "la table", "la mesa"),
    ("the key", "den Schluessel", "la clef", "la llave"),
    ("the picture", "das Bild", "l'image", "la imagen"),
    ("the bag", "die Tasche", "le sac", "la bolsa"),
    ("the shirt", "das Hemd", "la chemise", "la camisa"),
    ("the apple", "den Apfel", "la pomme", "la manzana"),
    ("the flower", "die Blume", "la fleur", "la flor"),
    ("the wine", "den Wein", "le vin", "el vino"),
    ("the milk", "die Milch", "le lait", "la leche"),
    ("the chair", "den Stuhl", "la chaise", "la silla"),
    ("the bottle", "die Flasche", "la bouteille", "la botella"),
    ("the glass", "das Glas", "le verre", "el vaso"),
    ("the money", "das Geld", "l'argent", "el dinero"),
    ("the ticket", "die Fahrkarte", "le billet", "el billete"),
    ("the newspaper", "die Zeitung", "le journal", ""), ("the lamp", "die Lampe", "la lampe", ""),
    ("the window", "das Fenster", "", "la ventana"),
    ("the door", "die Tuer", "la porte", "la puerta"),
)
PLACES: tuple[Words, ...] = (
    ("in the city", "in der Stadt", "dans la ville", "en la ciudad"),
    ("in the kitchen", "in der Kueche", "dans la cuisine", "en la cocina"),
    ("in the park", "im Park", "dans le parc", "en el parque"),
    ("in the house", "im Haus", "dans la maison", "en la casa"),
    ("in the car", "im Auto", "dans la voiture", "en el coche"),
    ("in the street", "auf der Strasse", "dans la rue", "en la calle"),
)
# Things in the nominative, with the gender of the French and the Spanish word.
THINGS: tuple[tuple[Words, str, str], ...] = (
    (("the book", "das Buch", "le livre", "el libro"), "m", "m"),
    (("the house", "das Haus", "la maison", "la casa"), "f", "f"),
    (("the car", "das Auto", "la voiture", "el coche"), "f", "m"),
    (("the table", "der Tisch", "la table", "la mesa"), "f", "f"),
    (("the door", "die Tuer", "la porte", "la puerta"), "f", "f"),
    (("the shirt", "das Hemd", "la chemise", "la camisa"), "f", "f"),
    (("the wine", "der Wein", "le vin", "el vino"), "m", "m"),
    (("the flower", "die Blume", "la fleur", "la flor"), "f", "f"),
    (("the garden", "der Garten", "le jardin", ""), "m", "m"),
    (("the city", "die Stadt", "la ville", "la ciudad"), "f", "f"),
    (("the bottle", "die Flasche", "la bouteille", "la botella"), "f", "f"),
    (("the bread", "das Brot", "le pain", "el pan"), "m", "m"),
    (("the bridge", "die Bruecke", "le pont", "el puente"), "m", "m"),
    (("the hat", "der Hut", "le chapeau", "el sombrero"), "m", "m"),
)
# English, German, French m and f, Spanish m and f.
ADJECTIVES = (
    ("big", "gross", "grand", "grande", "grande", "grande"),
    ("new", "neu", "nouveau", "nouvelle", "nuevo", "nueva"),
    ("red", "rot", "rouge", "rouge", "rojo", "roja"),
    ("old", "alt", "vieux", "vieille", "viejo", "vieja"),
    ("good", "gut", "bon", "bonne", "bueno", "buena"),
    ("white", "weiss", "blanc", "blanche", "blanco", "blanca"),
    ("beautiful", "schoen", "beau", "belle", "bonito", "bonita"),
    ("green", "gruen", "vert", "verte", "verde", "verde"),
    ("yellow", "gelb", "jaune", "jaune", "amarillo", "amarilla"),
    ("black", "schwarz", "noir", "noire", "negro", "negra"),
    ("small", "klein", "petit", "petite", "", ""), ("expensive", "teuer", "", "", "caro", "cara"),
)
TIMES: tuple[Words, ...] = (
    ("today", "heute", "aujourd'hui", "hoy"), ("now", "jetzt", "maintenant", "ahora"),
    ("often", "oft", "souvent", "a menudo"),
)
ASKED = (
    "Translate into {l}: {s}", "Translate to {l}: {s}",
    "Translate the following sentence into {l}:\n{s}",
    "Translate this sentence to {l}: {s}", "How do you say this in {l}? {s}",
    "Please translate into {l}: {s}", 'What is "{s}" in {l}?', "translate to {l}: {s}",
)
# fmt: on


def translation(rng: random.Random, held: bool = False) -> Pair:
    """Return a chat that translates a sentence, of those kept for the evaluation or others."""
    while True:
        language = rng.randint(1, 3)
        words = rng.choice((action, first_person, property_of))(rng, language)
        if words and (sum(map(ord, words[0])) % 13 == 0) == held:
            sentence, result = map(finished, words)
            return rng.choice(ASKED).format(l=LANGUAGES[language], s=sentence), result


def finished(text: str) -> str:
    """Return the words as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def pair_of(parts: list[Words], language: int, order: list[int]) -> Pair | None:
    """Return the parts in English and in the language, in its own order."""
    if not all(part[language] for part in parts):
        return None
    english = " ".join(part[0] for part in parts)
    return english, " ".join(parts[index][language] for index in order)


def action(rng: random.Random, language: int) -> Pair | None:
    """Return a sentence with a subject, a verb and an object."""
    parts = [rng.choice(SUBJECTS), rng.choice(VERBS)[0], rng.choice(OBJECTS)]
    return extended(rng, parts, language)


def first_person(rng: random.Random, language: int) -> Pair | None:
    """Return a sentence about what I do."""
    return extended(rng, [rng.choice(VERBS)[1], rng.choice(OBJECTS)], language)


def extended(rng: random.Random, parts: list[Words], language: int) -> Pair | None:
    """Return the sentence as it is, or with a time or a place."""
    order = list(range(len(parts)))
    pick = rng.random()
    if pick < 0.3:
        return pair_of([*parts, rng.choice(PLACES)], language, [*order, len(order)])
    if pick < 0.5:
        last = len(order)
        where = len(order) - 1 if language == 1 else len(order)
        return pair_of(
            [*parts, rng.choice(TIMES[:2])], language, [*order[:where], last, *order[where:]]
        )
    return pair_of(parts, language, order)


def property_of(rng: random.Random, language: int) -> Pair | None:
    """Return a sentence that says what something is like."""
    thing, french, spanish = rng.choice(THINGS)
    english, german, fr_m, fr_f, es_m, es_f = rng.choice(ADJECTIVES)
    adjective = (english, german, fr_m if french == "m" else fr_f, es_m if spanish == "m" else es_f)
    verb = rng.choice((("is", "ist", "est", "es"), ("is not", "ist nicht", "n'est pas", "no es")))
    return pair_of([thing, verb, adjective], language, [0, 1, 2])
