#!/bin/sh
# A server that listens, as far as the harness sees, and goes on until its standard input ends.
echo "accord: server 1 listens for clients at 127.0.0.1:1, http at off"
exec cat
