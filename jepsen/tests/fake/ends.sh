#!/bin/sh
# A server that ends before it listens.
echo "the disk is full" >&2
exit 3
