//! The elements: `shm2_count_elements sink` counts inside `counted`, `shm2_count_elements source` everything between two
//! batches, because the source pushes from a thread of its own.

#![forbid(unsafe_code)]

mod sink;
mod source;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("sink") => {
            init();
            sink::run();
        }
        Some("source") => {
            init();
            source::run();
        }
        Some("version") => println!("{}", gst::version_string()),
        _ => {
            eprintln!("usage: shm2_count_elements sink|source|version; see cargo xtask instructions");
            std::process::exit(2);
        }
    }
}

/// GStreamer with the elements of this project. Other plugins are not needed.
fn init() {
    gst::init().expect("GStreamer");
    gstshm2::plugin_register_static().expect("the plugin");
}
