#!/bin/sh
# Takes out of site-packages what Shoal never loads: for the layer of an image that installs them.
set -eu
cd "$1"
# Descriptions of AWS's services, but for S3 and those that give credentials for it.
find botocore/data -mindepth 1 -maxdepth 1 -type d \
  ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} +
for package in numpy scipy pyarrow; do
  [ ! -d "$package" ] || find "$package" -type d -name tests -prune -exec rm -r {} +
done
# Arrow's remote calls, its own client of S3, and headers.
rm -rf pyarrow/*flight* pyarrow/*arrow_s3* pyarrow/_s3fs* pyarrow/include
# Tools that change models, and the library for C, which Python's module has inside.
rm -rf onnxruntime/transformers onnxruntime/quantization onnxruntime/tools \
  onnxruntime/capi/libonnxruntime.so*
