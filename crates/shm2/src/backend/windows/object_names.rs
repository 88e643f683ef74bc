//! Names of a region's kernel objects.

use super::objects::is_session_of_services;
use crate::name::{Place, Section, Spec};

#[derive(Debug, Clone)]
pub(super) struct ObjectNames(String);

impl ObjectNames {
    pub(super) fn of(spec: &Spec) -> Self {
        Self(match spec.place() {
            // For services both are one name, which must not be taken for two.
            Place::Section(Section { global, name }) if *global || is_session_of_services() => {
                format!("Global\\{name}")
            }
            Place::Section(Section { name, .. }) => format!("Local\\{name}"),
            // No other kind of name comes here.
            _ => spec.path().display().to_string(),
        })
    }

    pub(super) fn root(&self) -> &str {
        &self.0
    }

    pub(super) fn producer(&self) -> String {
        format!("{}.shm2-producer", self.0)
    }

    pub(super) fn bell(&self) -> String {
        format!("{}.shm2-bell", self.0)
    }

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

    pub(super) fn space(&self, generation: u64) -> String {
        format!("{}.room", self.data(generation))
    }

    pub(super) fn look(&self, generation: u64) -> String {
        format!("{}.look", self.data(generation))
    }
}
