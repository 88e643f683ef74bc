//! Options of `shm2 camera`, which are those of the program `shm2-camera`.

use clap::{Args, ValueEnum};

/// The program that makes cameras.
pub const PROGRAM: &str = "shm2-camera";

/// What is shown, and under which names.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Regions, for example shm:///dev/shm/camera; each becomes a camera
    #[arg(required = true, value_name = "REGION", value_parser = crate::region())]
    pub regions: Vec<String>,
    /// Name that programs show, once for each region in their order; by default the last part of the region's name
    #[arg(long, short, value_name = "TEXT")]
    pub description: Vec<String>,
    /// Name of the node in PipeWire, for one region; by default shm2. and the last part of the region's name
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// What programs see while the region has no producer
    #[arg(long, value_name = "WHAT", default_value = "last")]
    pub without_producer: Absence,
}

/// What programs see while a region has no producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Absence {
    /// The last picture, or a dark one if there was none
    Last,
    /// A dark picture
    Blank,
}
