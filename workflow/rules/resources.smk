# What jobs ask a scheduler for, by stage and size of input, and twice, thrice as much when one is tried again for want
# of it. Generous: a machine of 1,000 clips takes well under a minute for its features on one core of a laptop.
import math

from offnote.schedules import epochs_of

# What else the profile says of all jobs.
STATED = workflow.resource_settings.default_resources or {}

MEGABYTES_PER_SECOND = 5
SECONDS_PER_WINDOW = 1e-4


def asks(**resources):
    """Return resources as a rule states them, and again in the words of an engine that has words of its own.

    A profile tells these: `gpu_as: request_gpus={}` below its default-resources has a job that asks for one GPU ask for
    `request_gpus=1` too. What is 0 is not asked for.
    """
    asked = {name: amount_of(resource) for name, resource in resources.items()}
    for name, resource in resources.items():
        if f"{name}_as" in STATED:
            word, _, template = str(STATED[f"{name}_as"].raw).partition("=")
            asked[word] = amount_of(resource, template)
    return asked


def amount_of(resource, template="{}"):
    """Return a resource as a function of a job, filled into a template; a number is asked for again with each attempt."""

    def amount(wildcards, input, attempt):
        found = resource(wildcards, input, attempt) if callable(resource) else attempt * resource
        text = template.format(found)
        return None if not found else int(text) if text.isdigit() else text

    return amount


def gpus(known, input, attempt):
    """Return how many GPUs a job asks for."""
    return gpu_of(known)


def minutes(seconds, attempt):
    """Return what to ask for work that takes `seconds` at most: Python and torch take their time to start, too."""
    return attempt * (10 + math.ceil(seconds / 60))


def reading_minutes(known, input, attempt):
    """Return the minutes of a job that goes through its input once."""
    return minutes(input.size_mb / MEGABYTES_PER_SECOND, attempt)


def listening_minutes(batch):
    """Return the minutes of a job that makes the features of recordings, whether these are its input or not."""
    megabytes = batch.each(megabytes_of)
    return lambda known, input, attempt: minutes(
        (input.size_mb + sum(megabytes(known))) / MEGABYTES_PER_SECOND, attempt
    )


def reading_memory(known, input, attempt):
    """Return the MB of a job that holds some clips at a time, of recordings that may be an hour long."""
    return attempt * 3000


def training_minutes(known, input, attempt):
    """Return the minutes of a job that goes through its input once an epoch. A frame of float32 starts a window."""
    settings = run_of(known).settings
    frames = input.size_mb * 1e6 / (4 * settings.features.n_mels)
    return minutes(epochs_of(settings.training) * frames * SECONDS_PER_WINDOW, attempt)


def training_memory(known, input, attempt):
    """Return the MB of a job that holds its input, or blocks of it, twice over."""
    held = min(run_of(known).settings.training.memory, input.size_mb)
    return attempt * (2000 + math.ceil(2 * held))
