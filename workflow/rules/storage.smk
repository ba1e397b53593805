# Where files lie: here, or on S3 (docs/storage.md), whence Snakemake brings each job a copy of its input.
from snakemake.io import get_flag_value


def placed(path):
    """Return where a job finds a result: at its own path, or where Snakemake lays the copy of what is in a storage."""
    return str(workflow.modifier.path_modifier.apply_default_storage(path))


def brought(path):
    """Return where a result can be read now, which is fetched where it is in a storage."""
    stored = get_flag_value(workflow.modifier.path_modifier.apply_default_storage(path), "storage_object")
    if stored:
        workflow.async_run(stored.managed_retrieve())
    return Path(placed(path))


def list_storage(query):
    """List what is below a folder of a storage, such as s3://bucket/folder."""
    folder = get_flag_value(storage.s3(query), "storage_object")
    try:
        found = list(folder.get_subkeys())
    except Exception as error:
        # Whatever is wrong with the server or the credentials: the storage's own words tell it.
        raise InputError(
            f"dataset.path: {query} cannot be listed ({error}); docs/storage.md says what to set"
        ) from None
    objects = {item.key.removeprefix(f"{folder.key}/"): (item.size, item.e_tag) for item in found}
    return Listing(folder.local_path(), objects)
