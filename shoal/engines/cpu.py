"""The vocabulary of the CPU engine: the 80 COCO classes, faces, and synonyms."""

from __future__ import annotations

import difflib
from functools import lru_cache

from shoal.errors import UnknownPrompt

# In the order of the detector's class indices (the COCO 2017 detection labels).
# fmt: off
WORDS: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench",
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
    "backpack", "umbrella", "handbag", "tie", "suitcase",
    "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket",
    "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl",
    "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
    "cake",
    "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)

FACE = len(WORDS)  # a separate class with its own detector

# Synonyms for any class of a set.
_ALIASES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("person",): (
        "adult", "athlete", "baby", "boy", "child", "cyclist", "dancer", "driver", "girl",
        "human", "juggler", "kid", "man", "pedestrian", "player", "rider", "runner", "skater",
        "skier", "surfer", "toddler", "woman", "worker",
        "baseball player", "basketball player", "football player", "soccer player",
        "tennis player",
    ),
    ("sports ball", "frisbee"): ("ball",),
    ("sports ball",): ("baseball", "basketball", "football", "soccer ball", "tennis ball"),
    ("car", "motorcycle", "bus", "truck"): ("vehicle",),
    ("car", "truck"): ("van",),
    ("car",): ("automobile", "taxi"),
    ("truck",): ("lorry",),
    ("bicycle",): ("bike",),
    ("motorcycle",): ("motorbike", "scooter"),
    ("airplane",): ("aeroplane", "aircraft", "plane"),
    ("boat",): ("sailboat", "ship", "vessel"),
    WORDS[14:24]: ("animal",),
    ("dog",): ("puppy",),
    ("cat",): ("kitten",),
    ("horse",): ("pony",),
    ("sheep",): ("lamb",),
    ("cow",): ("cattle",),
    ("backpack", "handbag", "suitcase"): ("bag",),
    ("backpack",): ("rucksack",),
    ("handbag",): ("purse",),
    ("skis",): ("ski",),
    ("tennis racket",): ("racket", "tennis racquet"),
    ("cup",): ("mug",),
    ("banana", "apple", "orange"): ("fruit",),
    ("donut",): ("doughnut",),
    ("couch",): ("sofa",),
    ("potted plant",): ("houseplant", "plant"),
    ("dining table",): ("table",),
    ("tv",): ("television",),
    ("cell phone",): ("cellphone", "mobile phone", "phone", "smartphone"),
    ("refrigerator",): ("fridge",),
    ("hair drier",): ("hair dryer", "hairdryer"),
}
# fmt: on

_IRREGULAR = {"people": "person", "men": "man", "women": "woman", "children": "child"}
_IRREGULAR |= {"mice": "mouse", "buses": "bus", "taxis": "taxi"}

# Plural endings and their singular forms; every match is tried.
_ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "fe"), ("ves", "f"))

_CLASSES: dict[str, tuple[int, ...]] = {word: (index,) for index, word in enumerate(WORDS)} | {
    alias: tuple(WORDS.index(word) for word in meaning)
    for meaning, aliases in _ALIASES.items()
    for alias in aliases
}
_CLASSES |= dict.fromkeys(("face", "human face"), (FACE,))


@lru_cache(maxsize=1000)
def resolve(prompt: str) -> tuple[int, ...]:
    """The classes of a prompt: indices into ``WORDS``, or ``FACE`` alone.

    Ignores case, extra white space, hyphens and the plural.

    Raises:
        UnknownPrompt: the prompt is not in the vocabulary; the hint lists all words.
    """
    text = " ".join(prompt.lower().replace("-", " ").replace("_", " ").split())
    for candidate in _singulars(text):
        if candidate in _CLASSES:
            return _CLASSES[candidate]
    close = difflib.get_close_matches(text, _CLASSES, n=3, cutoff=0.6)
    suggestion = f"; similar words are {', '.join(close)}" if close else ""
    raise UnknownPrompt(
        f"the CPU engine does not recognize {prompt!r}{suggestion}",
        hint=f"It recognizes: {', '.join(sorted(_CLASSES))}.",
    )


def _singulars(text: str) -> list[str]:
    """The text, then its possible singular forms. Only the last word is changed."""
    head, space, last = text.rpartition(" ")
    stems = [last, _IRREGULAR.get(last, last)]
    stems += [
        last.removesuffix(plural) + singular
        for plural, singular in _ENDINGS
        if last.endswith(plural)
    ]
    return [head + space + stem for stem in stems]
