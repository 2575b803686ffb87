"""Object storage on boto3: any S3 endpoint, our embedded gateway or somebody's own."""

from ganlib.storage.s3_buckets import open_prefix, open_store
from ganlib.storage.s3_store import S3Store

__all__ = ["S3Store", "open_prefix", "open_store"]
