#!/bin/sh
# Removes from a Debian with Python what only makes an image larger, or helps a stranger: base.sh ROOT. Both images are made
# on it. What dpkg knows stays, by which scanners tell what is installed.
set -eu
cd "$1"

rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/zoneinfo/right var/cache/apt var/cache/debconf var/lib/apt/lists

# What installs: apt with the libraries that it alone has, pip, and the Perl that packages are configured with.
rm -rf usr/bin/apt* usr/lib/apt usr/lib/*/libapt-* usr/bin/gpgv usr/lib/*/libgnutls.* usr/lib/*/libp11-kit.* usr/lib/*/libunistring.* \
    usr/lib/*/libnettle.* usr/lib/*/libhogweed.* usr/lib/*/libidn2.* usr/lib/*/libtasn1.* usr/bin/perl* usr/lib/*/perl-base usr/share/perl*
for python in usr/lib/python3* usr/local/lib/python3*; do
    rm -rf "$python"/ensurepip "$python"/idlelib "$python"/turtledemo "$python"/pydoc_data "$python"/site-packages/pip*
done
rm -f usr/local/bin/pip*

# Encodings of the C library: Python has its own.
rm -rf usr/lib/*/gconv
