"""Every version that the test cluster pins; those of etcd, CoreDNS and Kubernetes are in their go.mod too.

A test compares the two, so that a bump cannot be half made.
"""

KUBERNETES = "v1.37.2"
ETCD = "v3.7.3"
COREDNS = "v1.14.7"
CONTAINERD = "v2.3.4"
KWOK = "v0.8.0"
HELM = "v4.3.1"
BOMBARDIER = "v1.2.6"

# The suite of Debian whose Python carries the images that are made without Docker, and that Python's version.
DEBIAN = "bookworm"
DEBIAN_PYTHON = "3.11"
