//! The state of regions, read without attaching.

use crate::error::IntoException;
use crate::stream;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm2::Overview;
use shm2::discovery::{ConsumerOverview, all_below};
use shm2_media::Media;

/// All regions with a live producer in a folder and the folders in it, as dictionaries.
#[pyfunction]
pub fn regions<'py>(py: Python<'py>, folder: std::path::PathBuf) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let all = py.detach(|| all_below(folder));
    all.iter().map(|overview| region(py, overview)).collect()
}

/// The state of one region with a live producer, as a dictionary.
#[pyfunction]
pub fn inspect<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyDict>> {
    let overview = py.detach(|| Overview::of(path)).map_err(IntoException::exception)?;
    region(py, &overview)
}

fn region<'py>(py: Python<'py>, overview: &Overview) -> PyResult<Bound<'py, PyDict>> {
    let caps = overview.caps.as_ref().map(|text| {
        let media = Media::from_caps(text).ok();
        stream::caps(py, &String::from_utf8_lossy(text), media.as_ref().and_then(Media::structure))
    });
    let dict = PyDict::new(py);
    dict.set_item("path", overview.path.to_string_lossy())?;
    dict.set_item("uri", overview.uri())?;
    dict.set_item("bytes", overview.bytes)?;
    dict.set_item("arena_bytes", overview.arena_bytes)?;
    dict.set_item("generation", overview.generation)?;
    dict.set_item("producer_pid", overview.producer_pid)?;
    dict.set_item("kept", overview.is_kept)?;
    dict.set_item("on_full", overview.full_policy.map(|policy| policy.to_string()))?;
    dict.set_item("history", overview.history)?;
    dict.set_item("max_leases", overview.max_leases)?;
    dict.set_item("newest", overview.newest)?;
    dict.set_item("age", overview.age.map(|age| age.as_secs_f64()))?;
    dict.set_item("frame_bytes", overview.frame_bytes)?;
    dict.set_item("caps", caps.transpose()?)?;
    dict.set_item("dropped_oldest", overview.dropped_oldest)?;
    dict.set_item("dropped_newest", overview.dropped_newest)?;
    dict.set_item("dropped_too_large", overview.dropped_too_large)?;
    let consumers = overview.consumers.iter().map(|consumer| attached(py, consumer));
    dict.set_item("consumers", consumers.collect::<PyResult<Vec<_>>>()?)?;
    Ok(dict)
}

fn attached<'py>(py: Python<'py>, consumer: &ConsumerOverview) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("pid", consumer.pid)?;
    dict.set_item("lag", consumer.lag)?;
    dict.set_item("held", consumer.held)?;
    dict.set_item("held_bytes", consumer.held_bytes)?;
    dict.set_item("received", consumer.received)?;
    dict.set_item("missed", consumer.missed)?;
    dict.set_item("skipped", consumer.skipped)?;
    dict.set_item("copied", consumer.copied)?;
    Ok(dict)
}
