//! Named sections of Windows.

use super::Finding;
use shm2::{CreateError, Producer, layout};

pub(super) fn check() -> Vec<Finding> {
    vec![section("Local"), section("Global")]
}

fn section(kind: &str) -> Finding {
    let check = "sections";
    let name = format!("winshm://{kind}/shm2-doctor-{}", std::process::id());
    let made = Producer::builder(&name).map_err(CreateError::from).and_then(|b| b.size(layout::MIN_REGION).create());
    match made {
        Ok(_) => Finding::good(check, format!("{kind}/ can be used")),
        Err(CreateError::SectionDenied { .. }) if kind == "Global" => Finding::note(
            check,
            "this user may not make sections for other sessions",
            "give the account SeCreateGlobalPrivilege (Create global objects), run as a service or as an \
             administrator, or use winshm://Local/NAME within one session",
        ),
        Err(error) => Finding::bad(check, error.to_string(), "the text says what the system refuses"),
    }
}
