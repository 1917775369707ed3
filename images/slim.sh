#!/bin/sh
# Removes from a folder of installed packages what no process of ours opens: slim.sh FOLDER. Both images are made with it.
set -eu
cd "$1"

# Tests of packages, sources of their compiled parts, what others would be compiled with, and types for who checks them.
find . -type d \( -name tests -o -name include \) -prune -exec rm -r {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.hpp' \) -delete

# pyarrow reads and writes Parquet here: Flight is a protocol, S3, GCS, Azure and HDFS are places. Its wheel holds libraries
# three times, of which the middle name is the one that is asked for.
rm -rf pyarrow/src
rm -f pyarrow/*flight* pyarrow/_substrait* pyarrow/libarrow_s3* pyarrow/_s3fs* pyarrow/_gcsfs* pyarrow/_azurefs* \
    pyarrow/_hdfs* pyarrow/*_cpp_tests* pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.*.*.*

# Libraries keep names that only a debugger reads. Those that a wheel has brought along do not load any more without.
find . -name '*.so*' -type f ! -path './*.libs/*' -exec strip --strip-unneeded {} +

# What several wheels have brought along is there once, and loaded once.
before='' first=''
find . -path './*.libs/*' -type f -exec sha256sum {} + | sort | while read -r digest library; do
    if [ "$digest" = "$before" ]; then
        ln -sf "../${first#./}" "$library"
    else
        before=$digest first=$library
    fi
done

# The Kubernetes client's classes for each kind, which it loads when they are asked for: objects are plain documents here. Its
# informers load three.
for client in kubernetes/client kubernetes/aio/client; do
    if [ -d "$client" ]; then
        find "$client/api" "$client/models" -name '*.py' ! -name __init__.py ! -name v1_object_meta.py \
            ! -name v1_owner_reference.py ! -name v1_managed_fields_entry.py -delete
    fi
done

# LightGBM takes the system's OpenMP, which is not there, so it gets the one that scikit-learn brings.
if [ -d scikit_learn.libs ]; then
    mkdir openmp
    cd openmp
    ln -s ../scikit_learn.libs/libgomp-*.so* libgomp.so.1
    test -e libgomp.so.1
fi
