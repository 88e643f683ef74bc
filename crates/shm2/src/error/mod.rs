//! Errors, one enum per operation. Each text names the value and the remedy.

mod attach;
mod create;
mod device;
mod receive;
mod send;
mod violation;

pub use crate::name::SpecError;
pub use attach::AttachError;
pub use create::CreateError;
pub use device::DeviceError;
pub use receive::ReceiveError;
pub use send::{SendError, Shortage};
pub use violation::Violation;
