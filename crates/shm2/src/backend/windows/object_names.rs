//! Names of a region's kernel objects. Other processes open the objects by them, so they are part of the protocol; the
//! table is in the parent module.

use super::kernel_objects::is_session_of_services;
use crate::name::{Section, Spec, Target};

#[derive(Debug, Clone)]
pub(super) struct ObjectNames(String);

impl ObjectNames {
    pub(super) fn of(spec: &Spec) -> Self {
        Self(match spec.target() {
            // In the session of services a local name and the global one lead to the same object.
            Target::Section(Section { global, name }) if *global || is_session_of_services() => {
                format!("Global\\{name}")
            }
            Target::Section(Section { name, .. }) => format!("Local\\{name}"),
            // Files are refused when the name is parsed, and devices have no objects.
            _ => spec.path().display().to_string(),
        })
    }

    /// Root section.
    pub(super) fn root(&self) -> &str {
        &self.0
    }

    /// Mutex of the producer.
    pub(super) fn producer(&self) -> String {
        format!("{}.shm2-producer", self.0)
    }

    /// Event: a producer has appeared.
    pub(super) fn arrival(&self) -> String {
        format!("{}.shm2-bell", self.0)
    }

    /// Data section.
    pub(super) fn data(&self, generation: u64) -> String {
        format!("{}.shm2-{generation:016x}", self.0)
    }

    /// Mutex and event of a leasing consumer.
    pub(super) fn page(&self, generation: u64, index: usize) -> [String; 2] {
        let data = self.data(generation);
        [format!("{data}.p{index}"), format!("{data}.e{index}")]
    }

    /// Mutex and event of a snapshot consumer.
    pub(super) fn snapshot(&self, generation: u64, index: usize) -> [String; 2] {
        let data = self.data(generation);
        [format!("{data}.s{index}"), format!("{data}.t{index}")]
    }

    /// Event: a consumer has freed space.
    pub(super) fn space(&self, generation: u64) -> String {
        format!("{}.room", self.data(generation))
    }

    /// Event: a consumer has attached or detached.
    pub(super) fn changed(&self, generation: u64) -> String {
        format!("{}.look", self.data(generation))
    }
}
