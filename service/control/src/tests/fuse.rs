//! Where the runner of jobs may be stopped: it stands still from then on, as if the server had been killed there.

use std::cell::Cell;

thread_local! {
    /// Places that it passes yet; tests have a thread each.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From now on so many places are passed; `None` is all.
pub(crate) fn light(places: Option<usize>) {
    LEFT.set(places);
}

/// Whether it has stopped.
pub(crate) fn is_burnt() -> bool {
    LEFT.get() == Some(0)
}

/// One place.
pub(crate) async fn burn() {
    match LEFT.get() {
        None => {}
        Some(0) => std::future::pending().await,
        Some(left) => LEFT.set(Some(left - 1)),
    }
}
