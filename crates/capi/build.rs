//! The name under which programs find the library, where plain cargo builds it. cargo-c passes the same option.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshm2.so.0");
    }
}
