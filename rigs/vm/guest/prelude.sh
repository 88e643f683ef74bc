# shellcheck shell=bash
# The environment of every command in the guest; sourced at its beginning.
# Programs are in the current folder, scripts of this folder are in PATH, and GStreamer finds the plugin.
export PATH=/usr/bin:/bin:/tmp/scripts HOME=/tmp GST_PLUGIN_PATH=/tmp/plugins GST_REGISTRY=/tmp/registry
cd /tmp/built || exit 1
if [ ! -e /tmp/registry ]; then
  mkdir -p /tmp/plugins
  ln -s /tmp/built/libgstshm2.so /tmp/plugins
  cp /var/cache/shm2-registry /tmp/registry
  gst-inspect-1.0 shm2src > /dev/null
fi
export GST_REGISTRY_UPDATE=no
