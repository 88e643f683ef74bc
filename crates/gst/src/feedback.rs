//! Regions whose sink asks for the latency of its upstream on this thread. A source of such a region, whose frames come
//! back to the sink, leaves the region's own latency out: it would add to itself with each query.

use std::cell::RefCell;

thread_local! {
    static ASKING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Calls `ask`, which queries the upstream of the sink of the region `shm_path`.
pub(crate) fn asking<R>(shm_path: &str, ask: impl FnOnce() -> R) -> R {
    let region = crate::uri::uri_of(shm_path).unwrap_or_default();
    ASKING.with_borrow_mut(|regions| regions.push(region));
    let answer = ask();
    ASKING.with_borrow_mut(|regions| drop(regions.pop()));
    answer
}

/// Whether the query that is answered on this thread comes from the sink of the region `shm_path`.
pub(crate) fn is_asking(shm_path: &str) -> bool {
    let is_any = ASKING.with_borrow(|regions| !regions.is_empty());
    is_any && crate::uri::uri_of(shm_path).is_some_and(|region| ASKING.with_borrow(|all| all.contains(&region)))
}
