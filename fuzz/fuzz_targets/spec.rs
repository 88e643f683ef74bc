//! Any text as a region's name: an error, or a name that is parsed again from its own text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shm2::Spec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = text.parse::<Spec>() {
        assert!(spec.is_device() || spec.path().is_absolute());
        assert_eq!(spec.to_string().parse::<Spec>().as_ref(), Ok(&spec));
    }
});
