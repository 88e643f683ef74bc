#!/bin/bash
# Installs Rust with the standard library for Windows into ./rustup, in the current folder, and links it as ./tc. The
# folder is a rustup home of its own: the user's toolchains stay unchanged.
#
# environment: VERSION  release of Rust
#              GNU      target that is built and run
#              MSVC     target that is only checked; the installation goes on without it
set -xeuo pipefail
export RUSTUP_HOME=$PWD/rustup
rustup -q toolchain install "$VERSION" --profile minimal -c clippy -t "$GNU" --no-self-update
ln -sfn rustup/toolchains/"$VERSION"-* tc
tc/bin/rustc --version
rustup -q target add --toolchain "$VERSION" "$MSVC" || echo "without $MSVC"
