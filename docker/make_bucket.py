"""Make a bucket on the S3 endpoint of the environment, unless it is there. `python docker/make_bucket.py NAME`."""

import sys

import fsspec


def main() -> None:
    (bucket,) = sys.argv[1:]
    store = fsspec.filesystem("s3")
    if not store.exists(bucket):
        store.mkdir(bucket)
    print(f"bucket {bucket} is there")


if __name__ == "__main__":
    main()
