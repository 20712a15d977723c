//! Taking a mutex of this crate: none is held while anything can panic, so what it guards is whole even if it says otherwise.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Returns what the mutex guards.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
