//! Puts the commit and date into the plugin description.

fn main() {
    gst_plugin_version_helper::info()
}
